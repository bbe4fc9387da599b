"""Keeps a process running: starts it, notices at once when it ends, and starts it again."""

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

# A process that ends this often within this time is given up.
MAX_ENDS = 5
WITHIN_S = 60.0
FIRST_WAIT_S = 0.1


class GaveUp(Exception):
    """A process cannot be kept running; the message says why."""


class Supervised:
    """One spawned process. It runs `main(*arguments, reason)` and sends one sentence to `reason` if it gives up."""

    def __init__(self, name: str, main: Callable[..., None], *arguments: Any, grace_s: float = 5) -> None:
        self._name = name
        self._main = main
        self._arguments = arguments
        self._grace_s = grace_s
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
                await _ended(self._process)
                forget(self._process.pid or 0)
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
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=self._main, args=(*self._arguments, sender), name=self._name, daemon=True)
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
