"""Keeps a process running: starts it, notices when it ends or hangs, and starts it again."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from time import monotonic
from typing import Any

from server.engine.status_page import StatusReader
from server.launch.engine_process import CANNOT_LOAD
from server.observability.metrics import Metrics
from server.shared_memory import ByMemory, SharedMemory

log = logging.getLogger("hearth")

# A process that ends this often within this time is given up.
MAX_ENDS = 5
WITHIN_S = 60.0
FIRST_WAIT_S = 0.1
# Requests that each ended the process while they ran alone, with no batch between them that succeeded, until the
# process itself is to blame.
MAX_BLAMED = 20
_CHECK_EVERY_S = 0.25


class GaveUp(Exception):
    """A process cannot be kept running; the message says why."""


class Supervised:
    """One spawned process. It runs `main(*arguments, reason)` and sends one sentence to `reason` if it gives up.

    `metrics` count its restarts. `child_metrics` are those of the process itself: whoever spawned it clears its gauges.
    On a page of `status` it tells what it does, if it does so: it is killed when it hangs, or gives no sign of life for
    `silence_s`.
    """

    def __init__(
        self,
        name: str,
        main: Callable[..., None],
        *arguments: Any,
        metrics: Metrics,
        child_metrics: Metrics | None = None,
        grace_s: float = 5,
        status: SharedMemory | None = None,
        silence_s: float | None = None,
    ) -> None:
        self._name = name
        self._main = main
        self._arguments = arguments
        self._grace_s = grace_s
        self._metrics = metrics
        self._child_metrics = child_metrics
        self._status, self._silence_s = status, silence_s
        self._page: StatusReader | None = None
        self._blamed = 0
        self._process: SpawnProcess | None = None
        self._ends: deque[float] = deque(maxlen=MAX_ENDS)

    async def keep(self) -> None:
        """Keep the process running until this task is cancelled, then end it.

        Raises: GaveUp.
        """
        try:
            while True:
                reason = self._start()
                assert self._process is not None
                await self._ended_or_killed(self._process)
                if self._child_metrics is not None:
                    self._child_metrics.clear_gauges()
                self._page = self._page or self._find_page(self._process)
                await self._handle_end(self._process, reason)
        finally:
            await self._stop()

    def send(self, number: int) -> None:
        """Send a signal to the process, if it runs."""
        if self._process is not None and self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, number)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def _start(self) -> "Connection[str, str]":
        context = multiprocessing.get_context("spawn")
        _stay_in_this_folder()
        receiver, sender = context.Pipe(duplex=False)
        arguments = ByMemory((*self._arguments, sender))
        process = context.Process(target=_run, args=(self._main, arguments), name=self._name, daemon=True)
        process.start()
        sender.close()
        self._process = process
        return receiver

    async def _handle_end(self, process: SpawnProcess, reason: "Connection[str, str]") -> None:
        sentence = ""
        with contextlib.suppress(EOFError):
            sentence = reason.recv() if reason.poll() else ""
        if process.exitcode == CANNOT_LOAD:
            raise GaveUp(sentence)
        why = f": {sentence}" if sentence else ""
        log.error("the %s process ended with status %s and is restarted%s", self._name, process.exitcode, why)
        self._metrics.restarted(self._name)
        self._count_end()
        if len(self._ends) == MAX_ENDS and self._ends[-1] - self._ends[0] < WITHIN_S:
            raise GaveUp(f"the {self._name} process ended {MAX_ENDS} times within {WITHIN_S:g} s{why}")
        await asyncio.sleep(FIRST_WAIT_S * 2 ** max(len(self._ends) - 1, 0))

    def _count_end(self) -> None:
        page = self._page
        if page is not None and page.completed:
            self._blamed = 0
        if page is None or not page.alone:
            self._ends.append(monotonic())
            return
        # A request that ran alone ended it, and is not run again; the end before this one was its doing too.
        if self._ends:
            self._ends.pop()
        self._blamed += 1
        if self._blamed == MAX_BLAMED:
            raise GaveUp(f"{MAX_BLAMED} requests in a row ended the {self._name} process")

    async def _ended_or_killed(self, process: SpawnProcess) -> None:
        killing = asyncio.create_task(self._kill_when_it_hangs(process))
        try:
            await _ended(process)
        finally:
            killing.cancel()

    async def _kill_when_it_hangs(self, process: SpawnProcess) -> None:
        # A thread of the process could not: it may be stopped, or wait for the interpreter's lock.
        self._page = None
        while self._status is not None:
            await asyncio.sleep(_CHECK_EVERY_S)
            self._page = self._page or self._find_page(process)
            if self._page is not None and (reason := self._page.check(monotonic())):
                log.error("the %s process hangs and is killed: %s", self._name, reason)
                process.kill()
                return

    def _find_page(self, process: SpawnProcess) -> StatusReader | None:
        # Before the process has begun its page there is none, or that of the process before.
        page = StatusReader(self._status, self._silence_s) if self._status is not None else None
        return page if page is not None and page.pid == process.pid else None

    async def _stop(self) -> None:
        if self._process is None or not self._process.is_alive():
            return
        self._process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_ended(self._process), self._grace_s)
        self._process.kill()


def _run(main: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    main(*arguments)


def _stay_in_this_folder() -> None:
    """Let a process begin in the folder of its parent, even if that was renamed or removed, as by an upgrade."""
    try:
        Path.cwd()
    except FileNotFoundError:
        # Relative paths lead nowhere from a removed folder anyway.
        os.chdir(os.sep)
    # Otherwise multiprocessing looks for it by the name that it had at the start.
    multiprocessing.process.ORIGINAL_DIR = os.curdir  # type: ignore[attr-defined]


async def _ended(process: SpawnProcess) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process.sentinel)
    process.join()
