"""Clients that arrive at a fixed rate, whether or not the server keeps up, and try again as SDKs do."""

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.support.client import Address, Connection

# OpenAI's SDKs try a request three times, and wait as Retry-After says, or up to a quarter less.
TRIES = 3
JITTER = 0.25
# Many clients give up after so long.
PATIENCE_S = 10.0
NO_ANSWER = 0
_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class Try:
    """One try of one request; `ended_s` counts from the start of the run."""

    status: int
    seconds: float
    ended_s: float


@dataclass(slots=True)
class OpenLoop:
    """Sends `requests` in turn and keeps what came of every try."""

    address: Address
    requests: Sequence[bytes]
    tries: list[Try] = field(default_factory=list)
    sent: int = 0
    gave_up: int = 0
    _free: list[Connection] = field(default_factory=list)
    _started: float = 0.0

    async def run(self, per_second: float, seconds: float) -> None:
        """Start requests for `seconds`, and wait for all of them."""
        self._started = time.perf_counter()
        clients: set[asyncio.Task[None]] = set()
        while (now := time.perf_counter() - self._started) < seconds:
            while self.sent < now * per_second:
                clients.add(asyncio.create_task(self._client(self.requests[self.sent % len(self.requests)])))
                self.sent += 1
            await asyncio.sleep(_POLL_S)
        await asyncio.gather(*clients)
        while self._free:
            with suppress(ConnectionError):
                await self._free.pop().close()

    async def _client(self, request: bytes) -> None:
        for _ in range(TRIES):
            status, retry_after_s = await self._try(request)
            if status != 429:
                return
            await asyncio.sleep(retry_after_s * (1 - JITTER * random.random()))
        self.gave_up += 1

    async def _try(self, request: bytes) -> tuple[int, int]:
        started = time.perf_counter()
        status, retry_after_s = NO_ANSWER, 0
        with suppress(TimeoutError, OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(PATIENCE_S):
                connection = self._free.pop() if self._free else await Connection.open(self.address)
                answer = await connection.send(request)
            self._free.append(connection)
            status, retry_after_s = answer.status, answer.retry_after_s
        ended = time.perf_counter()
        self.tries.append(Try(status, ended - started, ended - self._started))
        return status, retry_after_s
