"""Memory that a process shares with those that it spawns, without a file.

A mapped file can end the process that writes to it: by SIGBUS, when the disk is full. So can the standard library's
multiprocessing.shared_memory, whose files are in /dev/shm.
"""

import mmap
import os
import pickle
import tempfile
import weakref
from multiprocessing import reduction
from typing import Any

from server.config import ConfigError


class SharedMemory:
    """Some bytes, zero at first. An argument of a spawned process arrives there as the same memory."""

    def __init__(self, size: int) -> None:
        """Ask the system for them.

        Raises: ConfigError: it gives none.
        """
        try:
            self._use(_anonymous_file(size))
        except OSError as error:
            # The limit on the size of files counts for it too: `ulimit -f`.
            raise ConfigError(f"the system gives no {size} bytes of memory to share: {error.strerror}") from error

    @property
    def view(self) -> memoryview:
        """The bytes."""
        return memoryview(self._memory)

    def __len__(self) -> int:
        return len(self._memory)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrive, (reduction.DupFd(self._descriptor),)

    def _use(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self._memory = mmap.mmap(descriptor, 0)


class ByMemory:
    """An argument of a spawned process that arrives there as `value`, through shared memory.

    multiprocessing writes arguments into a pipe and waits until the process has read them: while its interpreter
    starts, if they are larger than the pipe, and for ever if it ends or is stopped before it reads.
    """

    def __init__(self, value: object) -> None:
        self._value = value
        # Kept until the process has its descriptor.
        self._memory: SharedMemory | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        pickled = reduction.ForkingPickler.dumps(self._value)
        self._memory = SharedMemory(len(pickled))
        self._memory.view[:] = pickled
        return _unpickle, (self._memory,)


def _unpickle(memory: SharedMemory) -> Any:
    return pickle.loads(memory.view)  # noqa: S301 (its parent wrote it)


def _arrive(duplicate: Any) -> SharedMemory:
    memory = SharedMemory.__new__(SharedMemory)
    memory._use(duplicate.detach())  # noqa: SLF001
    return memory


def _anonymous_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("hearth", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, size)
        return descriptor
    # Not on Linux. All bytes are written now, so that a full disk is an error now.
    with tempfile.TemporaryFile() as file:
        file.write(bytes(size))
        file.flush()
        return os.dup(file.fileno())
