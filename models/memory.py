"""Measures the memory of this process, and makes the C library return freed memory at once."""

import ctypes
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

STATUS = Path("/proc/self/status")
SAMPLE_INTERVAL_S = 0.01
# mallopt(3).
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
SMALLEST_MAPPED_BYTES = 128 * 1024
# The largest values of glibc's dynamic thresholds. Setting one stops its adjustment, so they are set at the end.
LARGEST_MAPPED_BYTES, LARGEST_TRIM_BYTES = 32 * 2**20, 64 * 2**20


class Footprint:
    """Measures the peak of anonymous memory (mapped files excluded) while a `with` block runs, in its own thread."""

    def __init__(self) -> None:
        self.peak_bytes: int | None = None
        """The peak above the memory at the beginning; None on systems without /proc, so anywhere but on Linux."""
        self._before = _anonymous_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._before is not None:
            self._thread.start()
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        assert self._before is not None, "the thread runs only where the system reports anonymous memory"
        peak = self._before
        while not self._ended.wait(SAMPLE_INTERVAL_S):
            peak = max(peak, _anonymous_bytes() or 0)
        self.peak_bytes = max(peak, _anonymous_bytes() or 0) - self._before


def rss_bytes() -> int:
    """The peak of resident memory of this process so far, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def gibibytes(count: int) -> str:
    """A number of bytes as text, in MiB or GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"


def _anonymous_bytes() -> int | None:
    try:
        lines = STATUS.read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), None)


@contextmanager
def freeing_at_once() -> Iterator[None]:
    """While open, the C library maps each large tensor by itself, and unmaps it when it is freed.

    Merging experts otherwise leaves holes in the heap that no merged tensor fits. For 32 experts in each of 12 layers,
    the peak of a load was 1.56 times the weights; with this it is 1.15 times.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(MMAP_THRESHOLD, SMALLEST_MAPPED_BYTES)
    try:
        yield
    finally:
        # Mapping every activation of a forward pass would cost a page fault for each 4 KiB.
        mallopt(MMAP_THRESHOLD, LARGEST_MAPPED_BYTES)
        mallopt(TRIM_THRESHOLD, LARGEST_TRIM_BYTES)
