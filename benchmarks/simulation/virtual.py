"""Virtual time: arrivals, a queue under some rule, and a modelled device. No threads, no real clock, no randomness.

The device takes a + b x tokens for a batch and computes a prefix that adjacent texts share once, whatever rule chose
them. The host needs its own time to prepare a batch, and may do so while the device runs the batch before.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.simulation.arrivals import Arrival
from benchmarks.simulation.policies import Policy
from server.engine.batching import BatchItem, BatchLimits, Job, Key
from server.engine.cost_model import CostModel
from server.engine.scheduler import BIND_AT_HOST_TIMES


@dataclass(frozen=True, slots=True)
class Device:
    """How long a batch takes, on the device and on the host that prepares it, and how large one may be."""

    name: str
    batch_s: float
    token_s: float
    host_s: float
    limits: BatchLimits
    # Whether a batch can be prepared while another one runs.
    overlaps: bool = True

    def seconds(self, tokens: int) -> float:
        return self.batch_s + self.token_s * tokens


# About Qwen3-Embedding-0.6B in bfloat16: two cores with AMX-less AVX-512, and one large GPU.
CPU = Device("CPU-like", 14e-3, 0.6e-3, 1e-3, BatchLimits(1024, 2048), overlaps=False)
GPU = Device("GPU-like", 5e-3, 2.9e-6, 3e-3, BatchLimits(16384, 2048))


@dataclass(slots=True)
class Served:
    """One request, and when it was answered."""

    arrival: Arrival
    job: Job
    left: int
    # How many batches had ended when it arrived, and when it was answered.
    ended_before: int
    ended: int = 0
    seconds: float = 0.0

    @property
    def batches(self) -> int:
        """The batches that ended while it waited, its own last one included."""
        return self.ended - self.ended_before


@dataclass(slots=True)
class InFlight:
    """A batch on the device."""

    items: Sequence[BatchItem]
    tokens: int
    start: float
    end: float
    is_full: bool


@dataclass(slots=True)
class Run:
    """The outcome: every answered request, and the work of the device."""

    device: Device
    served: list[Served] = field(default_factory=list)
    unanswered: list[Served] = field(default_factory=list)
    batches: int = 0
    tokens: int = 0
    # Seconds in which nothing ran although requests waited or a batch was being prepared.
    idle_s: float = 0.0
    seconds: float = 0.0

    @property
    def fill(self) -> float:
        """The mean tokens of a batch divided by the token budget."""
        return self.tokens / (self.batches * self.device.limits.max_tokens)

    def of(self, kind: str) -> list[Served]:
        """The answered requests of one kind."""
        return [request for request in self.served if request.arrival.kind == kind]


class Simulation:
    """One policy on one device, from the first arrival until `until_s`, or until all is answered."""

    def __init__(self, policy: Policy, device: Device, arrivals: Iterable[Arrival], until_s: float | None) -> None:
        self._binding = policy.binding if device.overlaps else "end"
        self._policy, self._device, self._until_s = policy, device, until_s
        self._ids = itertools.count()
        self._coming = [(arrival.seconds, next(self._ids), arrival) for arrival in arrivals]
        heapq.heapify(self._coming)
        self._waiting: dict[Key, Served] = {}
        self._in_flight: deque[InFlight] = deque()
        self._speed = CostModel()
        self._callers: set[str] = set()
        self._now = self._free = self._busy_from = 0.0
        self._run = Run(device)

    def run(self) -> Run:
        while (self._coming or self._waiting) and not self._is_over():
            self._admit()
            if self._in_flight and self._in_flight[0].end <= self._now:
                self._collect(self._in_flight.popleft())
            elif self._may_bind():
                self._launch()
            else:
                self._now = max(self._now, self._next_event())
        self._run.seconds = self._now
        self._run.unanswered = list(self._waiting.values())
        return self._run

    def _is_over(self) -> bool:
        return self._until_s is not None and self._now >= self._until_s

    def _admit(self) -> None:
        while self._coming and self._coming[0][0] <= self._now:
            at, number, arrival = heapq.heappop(self._coming)
            shared = [0, *[arrival.shared] * (len(arrival.lengths) - 1)]
            job = Job((b"", number), "model", arrival.lengths, shared, at, caller=arrival.caller)
            if not self._waiting:
                self._busy_from = max(at, self._free)
            self._callers.add(arrival.caller)
            self._waiting[job.key] = Served(arrival, job, len(arrival.lengths), self._ended_at(at))

    def _ended_at(self, at: float) -> int:
        # The host may have been busy when a batch ended, and hears of it only after this arrival.
        return self._run.batches + sum(batch.end <= at for batch in self._in_flight)

    def _something_waits(self) -> bool:
        return any(request.job.waiting for request in self._waiting.values())

    def _may_bind(self) -> bool:
        if len(self._in_flight) > 1 or not self._something_waits():
            return False
        return not self._in_flight or self._now >= self._bind_at()

    def _bind_at(self) -> float:
        running = self._in_flight[0]
        if self._binding == "start":
            return running.start
        if self._binding == "end":
            return running.end
        estimated_end = running.start + self._speed.seconds(running.tokens)
        return min(estimated_end - BIND_AT_HOST_TIMES * self._speed.host_s, running.end)

    def _next_event(self) -> float:
        events = [self._coming[0][0]] if self._coming else []
        if self._in_flight:
            events.append(self._in_flight[0].end)
        if len(self._in_flight) == 1 and self._something_waits():
            events.append(self._bind_at())
        return min(events)

    def _launch(self) -> None:
        jobs = [request.job for request in self._waiting.values() if request.job.waiting]
        items = self._policy.take(jobs, self._limits(), self._now, self._speed.seconds_per_token)
        tokens = self._computed(items)
        self._now += self._device.host_s
        start = max(self._now, self._free)
        self._run.idle_s += start - max(self._free, self._busy_from)
        self._free = start + self._device.seconds(tokens)
        self._in_flight.append(InFlight(items, tokens, start, self._free, self._something_waits()))

    def _limits(self) -> BatchLimits:
        limits = self._device.limits
        if len(self._callers) < 2 or not self._policy.shares:
            return limits
        return replace(limits, max_tokens=int(min(limits.max_tokens, self._speed.shared_tokens)))

    def _computed(self, items: Sequence[BatchItem]) -> int:
        tokens, before = 0, BatchItem((b"", -1), -1)
        for item in items:
            job = self._waiting[item.key].job
            joins = before == BatchItem(item.key, item.index - 1)
            tokens += job.lengths[item.index] - (job.shared[item.index] if joins else 0)
            before = item
        return tokens

    def _collect(self, batch: InFlight) -> None:
        self._speed.record(batch.tokens, batch.end - batch.start, self._device.host_s, is_full=batch.is_full)
        self._run.batches += 1
        self._run.tokens += batch.tokens
        for item in batch.items:
            request = self._waiting[item.key]
            request.left -= 1
            if not request.left:
                self._answer(request, batch.end)

    def _answer(self, request: Served, at: float) -> None:
        del self._waiting[request.job.key]
        request.ended, request.seconds = self._run.batches, at - request.job.arrived
        self._run.served.append(request)
        if request.arrival.again:
            heapq.heappush(self._coming, (at, next(self._ids), replace(request.arrival, seconds=at)))


def simulate(policy: Policy, device: Device, arrivals: Iterable[Arrival], until_s: float | None = None) -> Run:
    """Run one policy over arrivals; clients that send again need an end."""
    return Simulation(policy, device, arrivals, until_s).run()
