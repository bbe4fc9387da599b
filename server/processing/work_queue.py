"""Threads for the work of one HTTP process on texts and bodies, and the queue for large texts before them. No HTTP.

Small work has threads of its own. Large work waits in a queue whose speed is measured: a request that would wait too
long is refused at once, and a client that leaves, or whose time is over, ends its work. Memory that large work took
goes back to the system after it.
"""

import asyncio
import ctypes
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Generic, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread

from models import TokenizerFailed, available_cores
from server.errors import InvalidValue, TokenizerBusy
from server.processing.tokenization import Between, go_on

# A text of this size takes some 20 ms.
SMALL_CHARACTERS = 64 * 1024
# Each of these threads holds a slice or a group of texts in the tokenizer, whose library starts threads of its own.
LARGE_THREADS = max(2, min(4, available_cores() // 2))
# Parsing and writing JSON holds the interpreter's lock: more threads take only more memory.
JSON_THREADS = 2
# Clients of large jobs would rather try again than find out after a minute.
MAX_WAIT_S = 10.0
# Before the first measurement. A core of today reads 1 to 4 million characters in a second.
FIRST_GUESS_PER_S = 1_000_000.0
NEWEST_JOB_WEIGHT = 0.2
# glibc keeps what was freed: 1,021 MB after a text of 8 MB, 63 MB after malloc_trim(). It takes some 10 ms, and what is
# used again must be mapped again.
TRIM_AFTER_S = 2.0
TRIM_EVERY_S = 5.0
# Small requests leave holes too, in time.
TRIM_AFTER_SMALL_S = 10.0
# mallopt(3). By default each thread gets an arena of its own, up to eight for each core, and each keeps what was freed.
ARENA_MAX, ARENAS = -8, 2

_Result = TypeVar("_Result")
Work = Callable[[Between], _Result]


class _Stopped(Exception):
    """Nobody waits for the result any more."""


class Caller(Protocol):
    """The request that waits for work."""

    def left_s(self) -> float:
        """Seconds until its deadline; negative after it."""
        ...

    async def wait_for(self, future: asyncio.Future[_Result]) -> _Result:
        """The result, unless the client leaves or its time is over first; then an exception is raised."""
        ...


class WorkQueue:
    """Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self._large = CapacityLimiter(LARGE_THREADS)
        self._json = CapacityLimiter(JSON_THREADS)
        self.waiting_characters = 0
        self._per_s = FIRST_GUESS_PER_S
        library = ctypes.CDLL(None)
        self._malloc_trim = getattr(library, "malloc_trim", None)
        if self._malloc_trim is not None:
            library.mallopt(ARENA_MAX, ARENAS)
        self._trim: asyncio.TimerHandle | None = None
        self._trimmed_at = -TRIM_EVERY_S

    async def run_json(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Parse or write a large body in a thread."""
        try:
            return await to_thread.run_sync(function, *arguments, limiter=self._json)
        finally:
            self.trim_later()

    async def tokenize(self, work: "Work[_Result]", characters: int, field: str, caller: Caller) -> _Result:
        """Run work that reads about this many characters of text in a thread; errors call the texts `field`.

        Raises: TokenizerBusy, DeadlineExceeded, ClientGone. InvalidValue: the tokenizer gave up. What `work` raises.
        """
        guarded = _guarded(work, field)
        if characters <= SMALL_CHARACTERS:
            return await to_thread.run_sync(guarded, go_on)
        self._check_wait(min(caller.left_s(), MAX_WAIT_S))
        job = _Job(guarded)
        self.waiting_characters += characters
        task = asyncio.ensure_future(to_thread.run_sync(job.run, limiter=self._large))
        task.add_done_callback(lambda _: self._note_end(job, characters))
        try:
            return await caller.wait_for(task)
        finally:
            job.stop(task)

    def _check_wait(self, longest_s: float) -> None:
        # Work that runs counts as a whole: how much of it is left is not known.
        wait_s = self.waiting_characters / (self._per_s * LARGE_THREADS)
        if wait_s > longest_s:
            raise TokenizerBusy(self.waiting_characters, wait_s - longest_s)

    def _note_end(self, job: "_Job[_Result]", characters: int) -> None:
        self.waiting_characters -= characters
        self.trim_later()
        if job.seconds is not None:
            self._per_s += NEWEST_JOB_WEIGHT * (characters / max(job.seconds, 1e-6) - self._per_s)

    def trim_later(self, after_s: float = TRIM_AFTER_S) -> None:
        """Give freed memory back to the system soon."""
        if self._malloc_trim is None:
            return
        loop = asyncio.get_running_loop()
        when = max(loop.time() + after_s, self._trimmed_at + TRIM_EVERY_S)
        # One for all that ends until then.
        if self._trim is None or self._trim.when() > when:
            if self._trim is not None:
                self._trim.cancel()
            self._trim = loop.call_at(when, self._trim_now)

    def _trim_now(self) -> None:
        self._trim = None
        assert self._malloc_trim is not None, "there is something to call, or nothing is scheduled"
        loop = asyncio.get_running_loop()
        self._trimmed_at = loop.time()
        loop.run_in_executor(None, self._malloc_trim, 0)


class _Job(Generic[_Result]):
    """Work in a thread, which ends early when nobody waits for it."""

    def __init__(self, work: Work[_Result]) -> None:
        self._work = work
        self._is_stopped = threading.Event()
        self._has_started = False
        # How long it took; None if it was stopped or failed.
        self.seconds: float | None = None

    def run(self) -> _Result:
        """Called in the thread."""
        self._has_started = True
        self._between(0)
        started = perf_counter()
        result = self._work(self._between)
        self.seconds = perf_counter() - started
        return result

    def stop(self, task: "asyncio.Future[_Result]") -> None:
        """End the work. A thread cannot be cancelled, and keeps its place until it ends."""
        self._is_stopped.set()
        if not self._has_started:
            task.cancel()
        task.add_done_callback(_forget)

    def _between(self, _: int) -> None:
        if self._is_stopped.is_set():
            raise _Stopped


def _guarded(work: Work[_Result], field: str) -> Work[_Result]:
    def run(between: Between) -> _Result:
        try:
            return work(between)
        except TokenizerFailed:
            raise InvalidValue(field, "the tokenizer cannot read this text; send shorter text.") from None
        except Exception:
            raise
        except BaseException as error:  # a panic of a library in Rust, which must end this request alone
            raise RuntimeError("a library gave up on a text") from error

    return run


def _forget(task: "asyncio.Future[_Result]") -> None:
    # Its exception was raised already, or nobody waits for it.
    if not task.cancelled():
        task.exception()
