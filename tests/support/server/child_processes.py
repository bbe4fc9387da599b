"""Main functions of processes for a supervisor. Each spawned process imports this file, so it imports little."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from server.observability.logs import failures_logged


def wait_for_ever(folder: Path, reason: Any) -> None:
    """Write the process id to `folder` and sleep until SIGTERM."""
    (folder / str(os.getpid())).touch()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    time.sleep(600)


def give_up(status: int, reason: Any) -> None:
    """Report an error and exit with `status`."""
    reason.send("its weights are damaged")
    sys.exit(status)


def fall_over(folder: Path, reason: Any) -> None:
    """Crash at once."""
    (folder / str(os.getpid())).touch()
    os._exit(9)


def fail(reason: Any) -> None:
    """End by an exception that nobody expects."""
    with failures_logged("test", tell=reason.send):
        raise OSError("the disk is full")


class EndsItsReader:
    """An argument that ends the process which reads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (9,)


def write_byte(memory: Any, place: int, value: int) -> None:
    """Write to a SharedMemory."""
    memory.view[place] = value


def write_last(arguments: Any) -> None:
    """Write to the last place of a SharedMemory, with which two other arguments came."""
    memory, _, value = arguments
    memory.view[len(memory) - 1] = value


def count_requests(metrics: Any, count: int) -> None:
    """Count requests that arrive and are not answered."""
    for _ in range(count):
        metrics.started()
        metrics.refused("test")
