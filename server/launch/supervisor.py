"""Keeps a process running: starts it, hears at once when it ends, starts it again."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from time import monotonic
from typing import Any

from server.launch.engine_process import CANNOT_LOAD
from server.observability.metrics import forget

log = logging.getLogger("hearth")

# So many ends within so many seconds, and nothing is tried any more.
MAX_ENDS = 5
WITHIN_S = 60.0
FIRST_WAIT_S = 0.1


class GaveUp(Exception):
    """A process cannot be kept running; the message says why."""


class Supervised:
    """One spawned process: `main(*arguments, reason)`, where `reason` takes a sentence if the process gives up."""

    def __init__(self, name: str, main: Callable[..., None], *arguments: Any, grace_s: float = 5) -> None:
        self._name = name
        self._main = main
        self._arguments = arguments
        self._grace_s = grace_s
        self._process: SpawnProcess | None = None
        self._ends: deque[float] = deque(maxlen=MAX_ENDS)

    async def keep(self) -> None:
        """Run until cancelled; then the process is ended.

        Raises: GaveUp.
        """
        try:
            while True:
                reason = self._start()
                assert self._process is not None
                await _ended(self._process)
                forget(self._process.pid or 0)
                await self._think_of_end(self._process, reason)
        finally:
            await self._stop()

    def send(self, number: int) -> None:
        """Send the running process a signal."""
        if self._process is not None and self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, number)

    @property
    def pid(self) -> int | None:
        """The running process's id."""
        return self._process.pid if self._process else None

    def _start(self) -> "Connection[str, str]":
        context = multiprocessing.get_context("spawn")
        heard, said = context.Pipe(duplex=False)
        process = context.Process(target=self._main, args=(*self._arguments, said), name=self._name, daemon=True)
        process.start()
        said.close()
        self._process = process
        return heard

    async def _think_of_end(self, process: SpawnProcess, reason: "Connection[str, str]") -> None:
        sentence = ""
        with contextlib.suppress(EOFError):
            sentence = reason.recv() if reason.poll() else ""
        if process.exitcode == CANNOT_LOAD:
            raise GaveUp(sentence)
        log.error("the %s process ended (%s) and is started again %s", self._name, process.exitcode, sentence)
        self._ends.append(monotonic())
        if len(self._ends) == MAX_ENDS and self._ends[-1] - self._ends[0] < WITHIN_S:
            raise GaveUp(f"the {self._name} process ended {MAX_ENDS} times within {WITHIN_S:g} s")
        await asyncio.sleep(FIRST_WAIT_S * 2 ** (len(self._ends) - 1))

    async def _stop(self) -> None:
        if self._process is None or not self._process.is_alive():
            return
        self._process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_ended(self._process), self._grace_s)
        self._process.kill()


async def _ended(process: SpawnProcess) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process.sentinel)
    process.join()
