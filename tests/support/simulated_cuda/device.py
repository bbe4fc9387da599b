"""The simulated GPU: simulated time, streams of work, memory, and counts of what a batch costs. Knows no operators.

It is a simulation for tests on machines without a GPU. Its speed means nothing: every kernel takes the same time.

- Time passes only while the host waits, and a little with each question whether an event is over. The host itself takes
  no time. So work that was launched is never over by chance, and a test gives the same result on every machine.
- Numbers are computed at once, as nobody can see them before a copy to the host. What the host can see, the arrival of
  such a copy, happens when simulated time reaches it.
- Several streams are ordered by events alone; a read that no event orders after the write raises SimulatedRace.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import torch

KERNEL_S = 2e-6
# How far time goes on with each call of Event.query().
QUERY_S = 1e-3
CLOCK_HZ = 1.98e9
MEMORY_BYTES = 139 * 2**30
# Files whose lines are not the cause of a wait: torch, numpy, and the simulation itself.
NOT_THE_CAUSE = ("/torch/", "/numpy/", "/simulated_cuda/", "/contextlib.py")
LIBRARY = "/site-packages/"


class SimulatedRace(AssertionError):
    """Work that CUDA would run in an undefined order, or host memory that was changed under a running copy."""


@dataclass
class Counts:
    """What the host asked of the device: kernels by operator, copies, and a sentence for each time that it waited."""

    operators: Counter[str] = field(default_factory=Counter)
    copies_in: int = 0
    copies_out: int = 0
    pinned_buffers: int = 0
    waits: list[str] = field(default_factory=list)

    @property
    def kernels(self) -> int:
        return self.operators.total()


class Stream:
    """A queue of work that the device does in order."""

    device = torch.device("cuda", 0)

    def __init__(self, gpu: "SimulatedGpu") -> None:
        self._gpu = gpu
        self.ends_s = 0.0  # when all work that was submitted so far is over
        self._seen: dict[Stream, float] = {}  # the work of other streams that is over before new work starts here

    def submit(self, seconds: float) -> float:
        """Add work, and return when it will be over."""
        self.ends_s = max(self.ends_s, self._gpu.now_s, *self._seen.values(), 0.0) + seconds
        return self.ends_s

    def wait_event(self, event: "Event") -> None:
        if event.stream is not None:
            self._seen[event.stream] = max(event.ends_s, self._seen.get(event.stream, 0.0))

    def wait_stream(self, stream: "Stream") -> None:
        self._seen[stream] = stream.ends_s

    def synchronize(self) -> None:
        self._gpu.wait("Stream.synchronize()", self.ends_s)

    def is_after(self, stream: "Stream", ends_s: float) -> bool:
        """Whether new work here starts after the work of `stream` that is over at `ends_s`."""
        return stream is self or ends_s <= max(self._seen.get(stream, 0.0), self._gpu.now_s)


class Event:
    """A point in a stream, as torch.cuda.Event."""

    def __init__(self, gpu: "SimulatedGpu") -> None:
        self._gpu = gpu
        self.stream: Stream | None = None
        self.ends_s = 0.0

    def record(self, stream: Stream | None = None) -> None:
        self.stream = stream or self._gpu.stream
        self.ends_s = self.stream.ends_s

    def query(self) -> bool:
        self._gpu.pass_time(self._gpu.now_s + QUERY_S)
        return self.ends_s <= self._gpu.now_s

    def synchronize(self) -> None:
        self._gpu.wait("Event.synchronize()", self.ends_s)


class Memory:
    """Device memory of one tensor and its views. `written` says which work wrote it last."""

    def __init__(self, gpu: "SimulatedGpu", size: int) -> None:
        if gpu.allocated + size > gpu.limit:
            raise torch.OutOfMemoryError(
                f"CUDA out of memory (simulated). Tried to allocate {size} bytes; "
                f"{gpu.allocated} of {gpu.limit} are allocated"
            )
        self._gpu, self._size = gpu, size
        self.written: tuple[Stream, float] | None = None
        gpu.allocated += size
        gpu.peak = max(gpu.peak, gpu.allocated)

    def __del__(self) -> None:
        # __init__ may have raised.
        if hasattr(self, "_size"):
            self._gpu.allocated -= self._size


class SimulatedGpu:
    """One GPU. Belongs to one thread.

    holds_numbers: False makes every device tensor a shape without numbers, so that models of any size can be counted.
    """

    def __init__(self) -> None:
        self.holds_numbers = True
        self.now_s = 0.0
        self.counts = Counts()
        self.allocated = self.peak = 0
        self.limit = MEMORY_BYTES
        self.capability = (9, 0)
        self.stream = Stream(self)
        self._arrivals: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0

    @contextmanager
    def counting(self) -> Iterator[Counts]:
        """Count into an object of its own while open."""
        before, self.counts = self.counts, Counts()
        try:
            yield self.counts
        finally:
            self.counts = before

    @contextmanager
    def shapes_only(self) -> Iterator[None]:
        """While open, new device tensors hold no numbers."""
        self.holds_numbers = False
        try:
            yield
        finally:
            self.holds_numbers = True

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        """Submit to this stream while open, as torch.cuda.stream()."""
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    def reset_peak(self) -> None:
        self.peak = self.allocated

    def limit_memory(self, share: float) -> None:
        self.limit = int(MEMORY_BYTES * share)

    def arrive(self, arrival: Callable[[], object]) -> None:
        """Submit a copy; `arrival` does what the host can see of it, when its time has come."""
        self._number += 1
        self._arrivals.append((self.stream.submit(KERNEL_S), self._number, arrival))

    def pass_time(self, until_s: float) -> None:
        """Let the device work until then."""
        self.now_s = max(self.now_s, until_s)
        due = sorted(arrival for arrival in self._arrivals if arrival[0] <= self.now_s)
        self._arrivals = [arrival for arrival in self._arrivals if arrival[0] > self.now_s]
        for _, _, arrival in due:
            arrival()

    def wait(self, what: str, until_s: float | None = None) -> None:
        """Make the host wait, and note the line that asked for it; by default for all work of the current stream."""
        self.counts.waits.append(f"{what} at {_cause()}")
        self.pass_time(self.stream.ends_s if until_s is None else until_s)


def _cause() -> str:
    """The innermost line outside torch; of a library's line also the line of this project that led to it."""
    frame: FrameType | None = sys._getframe(2)
    lines = []
    while frame is not None:
        file = frame.f_code.co_filename
        if not any(part in file for part in NOT_THE_CAUSE):
            lines.append(f"{'/'.join(file.split('/')[-3:])}:{frame.f_lineno}")
            if LIBRARY not in file:
                break
        frame = frame.f_back
    return lines[0] if len(lines) == 1 else f"{lines[0]}, called by {lines[-1]}" if lines else "an unknown line"
