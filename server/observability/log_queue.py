"""Carries log lines to a file descriptor in a thread of its own: whoever logs never waits for whoever reads."""

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable

# About 3,000 lines of the access log.
MAX_WAITING_BYTES = 2**20
# Lines of several processes in one pipe are not mixed up if each write has at most this many bytes: pipe(7).
ATOMIC_BYTES = select.PIPE_BUF
# After a write, lines are gathered for so long: woken for each line, the thread would compete with the event loop for
# the interpreter's lock.
GATHER_S = 0.05
# How long the end of a process waits for its last lines to be read.
FLUSH_S = 1.0
LOST = "%d log lines were dropped, because nobody read them in time"


class QueuedLog(logging.Handler):
    """A bounded queue of lines before a descriptor; lines that do not fit are dropped and counted by `dropped`."""

    def __init__(self, descriptor: int | None, encoding: str = "utf-8") -> None:
        """Write to `descriptor`; None drops every line, as of a process without standard error."""
        super().__init__()
        self.dropped: Callable[[int], None] = lambda lines: None
        self._descriptor, self._encoding = descriptor, encoding
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unreported = 0
        self._changed = threading.Condition()
        self._hurry = threading.Event()
        threading.Thread(target=self._write_lines, name="hearth-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, or drop it."""
        try:
            line = self._encoded(record)
        except Exception:  # as logging does it: a line that cannot be formatted stops nobody
            self.handleError(record)
            return
        with self._changed:
            has_room = self._waiting_bytes + len(line) <= MAX_WAITING_BYTES
            if has_room:
                self._lines.append(line)
                self._waiting_bytes += len(line)
                self._changed.notify_all()
        if not has_room:
            self._lose(1)

    def flush(self) -> None:
        """Wait until all lines are written, but not for long."""
        self._hurry.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting_bytes, FLUSH_S)
        self._hurry.clear()

    def _encoded(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(self._encoding, "backslashreplace")

    def _lose(self, lines: int) -> None:
        with self._changed:
            self._unreported += lines
        self.dropped(lines)

    def _write_lines(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                lines = self._take()
            if not self._write(b"".join(lines)):
                self._lose(len(lines))
            elif self._unreported and not self._lines:
                self._report()
            with self._changed:
                self._waiting_bytes -= sum(map(len, lines))
                is_empty = not self._lines
                self._changed.notify_all()
            if is_empty:
                self._hurry.wait(GATHER_S)

    def _take(self) -> list[bytes]:
        lines = [self._lines.popleft()]
        size = len(lines[0])
        while self._lines and (size := size + len(self._lines[0])) <= ATOMIC_BYTES:
            lines.append(self._lines.popleft())
        return lines

    def _report(self) -> None:
        with self._changed:
            lines, self._unreported = self._unreported, 0
        record = logging.LogRecord("hearth", logging.WARNING, __file__, 0, LOST, (lines,), None)
        self._write(self._encoded(record))

    def _write(self, text: bytes) -> bool:
        """Write all of it, which may wait for ever; False if that failed."""
        if self._descriptor is None:
            return False
        try:
            while text:
                text = text[os.write(self._descriptor, text) :]
        except OSError:  # the reader has gone, or the disk is full
            return False
        return True
