"""How much memory this process takes while something happens. Linux tells of anonymous memory; others do not."""

import resource
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

STATUS = Path("/proc/self/status")
EVERY_S = 0.01


class Footprint:
    """Watches anonymous memory, which excludes mapped files, in a thread of its own, as long as the block runs."""

    def __init__(self) -> None:
        self.peak_bytes: int | None = None
        """The most above what it was at the beginning; None where the system does not tell."""
        self._before = _anonymous_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._before is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        assert self._before is not None, "watched only where the system tells"
        most = self._before
        while not self._ended.wait(EVERY_S):
            most = max(most, _anonymous_bytes() or 0)
        self.peak_bytes = max(most, _anonymous_bytes() or 0) - self._before


def rss_bytes() -> int:
    """The most memory this process has had resident so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def gibibytes(count: int) -> str:
    """As people read it."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"


def _anonymous_bytes() -> int | None:
    try:
        lines = STATUS.read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), None)
