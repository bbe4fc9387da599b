"""The scheduler of one device: adds what arrives, launches and collects batches, answers each request once.

It belongs to one thread, which does nothing else. It never waits: wait_s() says how long its owner may.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter

from models import Backend, BackendInfo, Item, Row
from server.engine.batching import AdaptiveBatchLimits, BatchLimits, Job, Key, take_batch
from server.engine.cost_model import CostModel
from server.engine.in_flight import BatchCollector, InFlightBatch, RequestState, done, launched, unique_tokens
from server.engine.messages import BatchStats, EngineFailure, EngineRequest, EngineResult, EngineState, QueueStats

log = logging.getLogger("hearth.engine")

Answer = tuple[Key, EngineResult | EngineFailure]
# The second batch is bound when the rest of the first is about this many host times (DESIGN: scheduling).
BIND_AT_HOST_TIMES = 1.5
# How often a batch in flight is looked at.
POLL_S = 50e-6


class Scheduler:
    """One device's backends and queue. `clock` counts seconds."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        limits: BatchLimits,
        note: Callable[[BatchStats], None] = lambda _: None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._backends = backends
        self._budget = AdaptiveBatchLimits(limits)
        self._collector = BatchCollector(backends, self._budget)
        self._note = note
        self._clock = clock
        self._running: dict[Key, RequestState] = {}
        # Of those, the jobs with something that was not launched yet.
        self._waiting: dict[Key, Job] = {}
        self._flights: deque[InFlightBatch] = deque()
        self._speeds = {model: CostModel() for model in backends}
        self._free_since = clock()
        self._busy_since: float | None = None
        # The CPU computes in launch(): a second batch would only be bound earlier.
        self._depth = 1 if all(backend.info.device == "cpu" for backend in backends.values()) else 2

    @property
    def info(self) -> dict[str, BackendInfo]:
        """How each model is run, by id."""
        return {model: backend.info for model, backend in self._backends.items()}

    def state(self) -> EngineState:
        """What waits, and how fast it goes."""
        items, tokens = dict.fromkeys(self._backends, 0), dict.fromkeys(self._backends, 0)
        for job in self._waiting.values():
            items[job.model] += job.waiting
            tokens[job.model] += job.waiting_tokens
        return EngineState(
            "ready", {m: QueueStats(items[m], tokens[m], s.tokens_per_s) for m, s in self._speeds.items()}
        )

    def batch_s(self) -> float:
        """For how long a batch has been under way, 0 when none is; any thread may ask."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    def add(self, key: Key, work: EngineRequest) -> None:
        """Let a request wait; `key` names it to drop() and in its answer."""
        shares = self._backends[work.model].info.shares_prefixes
        shared = work.shared.tolist() if shares else [0] * len(work.ids)
        job = Job(key, work.model, [len(ids) for ids in work.ids], shared, self._clock())
        self._running[key] = RequestState(work, job)
        self._waiting[key] = job

    def drop(self, key: Key) -> None:
        """Forget a request: what of it has not been launched never will be."""
        self._running.pop(key, None)
        self._waiting.pop(key, None)

    def wait_s(self) -> float | None:
        """How long nothing need be done unless something arrives; None is for ever."""
        if not self._flights:
            return 0.0 if self._waiting else None
        if self._flights[0].pending.done() or self._may_launch():
            return 0.0
        return POLL_S

    def step(self) -> list[Answer]:
        """Launch a batch if one is due, or else collect one that is done.

        Answers are to be sent before the next step, which on a CPU computes a whole batch.

        Raises: DeviceLost: no request that waits will be answered.
        """
        if self._may_launch():
            self._launch()
        elif self._flights and self._flights[0].pending.done():
            return self._collect(self._flights.popleft())
        return []

    def _may_launch(self) -> bool:
        if len(self._flights) >= self._depth or not self._waiting:
            return False
        if not self._flights:
            return True
        # Bound at the first's start, it would cost every later query a batch; at its end, the device would idle.
        return self._rest_s(flight := self._flights[0]) <= BIND_AT_HOST_TIMES * self._speeds[flight.model].host_s

    def _rest_s(self, flight: InFlightBatch) -> float:
        started = max(flight.launched, self._free_since)
        return started + self._speeds[flight.model].seconds(flight.tokens) - self._clock()

    def _launch(self) -> None:
        started = self._clock()
        self._busy_since = self._busy_since or started
        pace = {model: speed.seconds_per_token for model, speed in self._speeds.items()}
        entries = take_batch(self._waiting.values(), self._budget.limits, started, pace)
        for key in {entry.key for entry in entries}:
            if not self._waiting[key].waiting:
                del self._waiting[key]
        places = [(self._running[entry.key], entry.index) for entry in entries]
        model = places[0][0].work.model
        items = [Item(running.work.ids[index], running.work.readout) for running, index in places]
        for running, _ in places:
            running.started = running.started or started
        keep_prefix = any(running.job.waiting for running, _ in places)
        pending = launched(self._backends[model], items, keep_prefix=keep_prefix)
        host_s = self._clock() - started
        is_full = any(job.model == model for job in self._waiting.values())
        self._flights.append(
            InFlightBatch(model, places, items, pending, unique_tokens(places), started, host_s, is_full)
        )

    def _collect(self, flight: InFlightBatch) -> list[Answer]:
        rows = self._collector.rows(flight)
        now = self._clock()
        seconds = now - max(flight.launched, self._free_since)
        self._free_since = now
        self._busy_since = now if self._flights else None
        self._speeds[flight.model].note(flight.tokens, seconds, flight.host_s, is_full=flight.is_full)
        fill = flight.tokens / self._budget.limits.max_tokens
        self._note(BatchStats(flight.model, len(flight.items), flight.tokens, fill, flight.host_s, seconds))
        for running in {id(running): running for running, _ in flight.places}.values():
            running.batches += 1
            running.forward_s += seconds
        taken = [self._take(running, index, row) for (running, index), row in zip(flight.places, rows, strict=True)]
        return [answer for answer in taken if answer is not None]

    def _take(self, running: RequestState, index: int, row: Row | EngineFailure) -> Answer | None:
        key = running.job.key
        # By identity: a dropped key may have come again.
        if self._running.get(key) is not running:
            return None
        if isinstance(row, EngineFailure):
            self.drop(key)
            return key, replace(row, id=running.work.id, index=index)
        running.rows[index] = row
        if len(running.rows) < len(running.work.ids):
            return None
        self.drop(key)
        return key, done(running)
