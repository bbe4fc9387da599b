"""A page of shared memory in which a process says what it does, so that others notice when it hangs or dies.

A thread of the process that hangs could not tell. The memory has two pages, and processes that follow one another write
to them in turn: the page of a process that has died can be read until its successor has died too.
"""

import os
import struct
from collections.abc import Iterable

from server.engine.batching import Key
from server.shared_memory import SharedMemory

# Every this many seconds a thread of the engine beats. The engine hangs if three beats are missing.
BEAT_S = 1.0
SILENCE_S = 3.5 * BEAT_S
# The reader's own pauses, as of a machine that was suspended, do not count against the engine.
LONGEST_STEP_S = 0.5

# Two batches of 4,000 requests each. One starts before the other has ended.
_PAGE_BYTES = 2**17
# Before the pages: the number of processes that have begun one.
_HEADER_BYTES = 8
# Pid, beats, starts, completed batches, whether a request runs alone, requests in flight; then each of those.
_PID, _BEATS, _STARTS, _COMPLETED, _ALONE, _COUNT, _LIMIT, _FIRST = range(8)
_MAX_REQUESTS = (_PAGE_BYTES // 8 - _FIRST) // 2
CLIENT_BYTES = 8


def status_memory() -> SharedMemory:
    """The memory for the pages of a process and of those that follow it."""
    return SharedMemory(_HEADER_BYTES + 2 * _PAGE_BYTES)


class _Page:
    def __init__(self, memory: SharedMemory, number: int) -> None:
        start = _HEADER_BYTES + number % 2 * _PAGE_BYTES
        view = memory.view[start : start + _PAGE_BYTES]
        self._numbers = view.cast("Q")
        self._seconds = view.cast("d")

    @property
    def pid(self) -> int:
        return self._numbers[_PID]

    @property
    def completed(self) -> int:
        """The batches that ended."""
        return self._numbers[_COMPLETED]

    @property
    def alone(self) -> bool:
        """Whether the request in flight was suspected of having ended an engine, and runs alone."""
        return bool(self._numbers[_ALONE])


class StatusPage(_Page):
    """The page of this process. beat() belongs to a thread of its own, the rest to the scheduler's thread."""

    def __init__(self, memory: SharedMemory | None = None) -> None:
        """Begin the page after that of the process before. Without `memory` nobody else reads it."""
        memory = memory or status_memory()
        begun = memory.view[:_HEADER_BYTES].cast("Q")
        super().__init__(memory, begun[0])
        for place in range(_FIRST):
            self._numbers[place] = 0
        self._numbers[_PID] = os.getpid()
        begun[0] += 1

    def beat(self) -> None:
        """Give a sign of life."""
        self._numbers[_BEATS] += 1

    def hold(self, keys: Iterable[Key], *, alone: bool) -> None:
        """Note the requests that are about to be in flight."""
        self._numbers[_COUNT] = 0
        count = 0
        for count, (client, request_id) in enumerate(keys, 1):
            if count > _MAX_REQUESTS:
                break
            place = _FIRST + 2 * (count - 1)
            self._numbers[place], self._numbers[place + 1] = _client_number(client), request_id
        self._numbers[_ALONE] = alone
        self._numbers[_COUNT] = min(count, _MAX_REQUESTS)

    def start(self, limit_s: float) -> None:
        """Note that a batch has begun to run, and after how long it hangs."""
        self._seconds[_LIMIT] = limit_s
        self._numbers[_STARTS] += 1

    def complete(self) -> None:
        """Note that a batch has ended, and that none runs until start()."""
        self._seconds[_LIMIT] = 0.0
        self._numbers[_COMPLETED] += 1


class StatusReader(_Page):
    """The page of another process."""

    def __init__(self, memory: SharedMemory, silence_s: float | None = None) -> None:
        """Read the newest page; its pid is 0 if no process has begun one.

        `silence_s` is how long the process may give no sign of life; by default, as long as an engine may.
        """
        self._longest_silence_s = SILENCE_S if silence_s is None else silence_s
        super().__init__(memory, memory.view[:_HEADER_BYTES].cast("Q")[0] + 1)
        self._signs = (0, 0)
        self._checked_at: float | None = None
        self._silent_s = self._running_s = 0.0

    def in_flight(self, client: bytes) -> set[int]:
        """The ids of a client's requests that are in flight, or were when the process died."""
        number, count = _client_number(client), self._numbers[_COUNT]
        entries = self._numbers[_FIRST : _FIRST + 2 * count].tolist()
        return {request_id for owner, request_id in zip(entries[::2], entries[1::2], strict=True) if owner == number}

    def check(self, now: float) -> str:
        """Why the process counts as hung, or "" if it does not. Call it a few times a second."""
        step_s = 0.0 if self._checked_at is None else min(now - self._checked_at, LONGEST_STEP_S)
        self._checked_at = now
        (beats, starts), before = self._read_signs(), self._signs
        self._signs = beats, starts
        self._silent_s = 0.0 if beats != before[0] else self._silent_s + step_s
        limit_s = self._seconds[_LIMIT]
        self._running_s = 0.0 if starts != before[1] or not limit_s else self._running_s + step_s
        # Before the first beat it starts, and an engine loads its models, which may take any time.
        if beats and self._silent_s > self._longest_silence_s:
            return f"it has given no sign of life for {self._silent_s:.1f} s"
        if limit_s and self._running_s > limit_s:
            return f"a batch has been running for {self._running_s:.1f} s, over its limit of {limit_s:.1f} s"
        return ""

    def _read_signs(self) -> tuple[int, int]:
        return self._numbers[_BEATS], self._numbers[_STARTS]


def _client_number(client: bytes) -> int:
    (number,) = struct.unpack("=Q", client[:CLIENT_BYTES].ljust(CLIENT_BYTES, b"\0"))
    return int(number)
