"""The clients of a soak: each sends, waits, leaves early or sends half, and judges every answer."""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from benchmarks.support.client import LENGTH, Address, get
from benchmarks.support.soak_requests import Call, Reply

# Longer than any request may take; an answer that is later counts as none.
ANSWER_TIMEOUT_S = 90
PIECE_PAUSE_S = 0.1
PROBE_EVERY_S = 0.5
# A connection that ends this close to the end of an HTTP process was that process's.
KILL_WINDOW_S = 0.3
KEPT_CONNECTIONS = 0.7
STATUS = re.compile(rb"HTTP/1.1 (\d{3}) ")
# How often a client does what, in percent; the rest of the time it sends a request and waits.
LEAVES, SENDS_HALF, SENDS_AHEAD = 6, 4, 4
MAX_EXAMPLES = 20
PIPELINED = 6

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Tally:
    """What became of the requests that were sent."""

    outcomes: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def count(self, kind: str, outcome: str, detail: str = "") -> None:
        self.outcomes[outcome] += 1
        self.by_kind[kind, outcome] += 1
        if detail and len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{kind}: {outcome}: {detail}")


class Traffic:
    """Clients that send until they are stopped. `killed_at` has the times at which an HTTP process was killed."""

    def __init__(self, address: Address, calls: Sequence[Call], pause_s: float) -> None:
        self._address = address
        self._calls = calls
        self._pause_s = pause_s
        self._references: dict[Call, Reply] = {}
        self._go = asyncio.Event()
        self._go.set()
        self._busy = 0
        self.tally = Tally()
        self.killed_at: list[float] = []
        self._slowest_probe_s = 0.0

    async def learn(self) -> None:
        """Take the references, one request after another."""
        for call in self._calls:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                self._references[call] = await self._exchange(await self._connect(), call)

    async def client(self, seed: int) -> None:
        """One client, until its task is cancelled between two requests."""
        rng = random.Random(seed)
        stream: Stream | None = None
        while True:
            if stream is not None and not self._go.is_set():
                stream[1].close()
                stream = None
            await self._go.wait()
            self._busy += 1
            try:
                stream = await self._act(rng, stream)
            finally:
                self._busy -= 1
            await asyncio.sleep(rng.expovariate(1 / self._pause_s))

    async def probe(self) -> None:
        """Ask /live over new connections, and note how long the slowest answer takes."""
        while True:
            await self._go.wait()
            started = time.monotonic()
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    reader, writer = await self._connect()
                    writer.write(get("/live"))
                    reply = await _read(reader)
                    writer.close()
                self.tally.count("probe", "right" if reply.status == 200 else "wrong")
            except (OSError, EOFError, TimeoutError) as error:
                self._judge_loss("probe", started, error)
            self._slowest_probe_s = max(self._slowest_probe_s, time.monotonic() - started)
            await asyncio.sleep(PROBE_EVERY_S)

    def take_slowest_probe_s(self) -> float:
        """How long the slowest probe took since the last call."""
        slowest_s, self._slowest_probe_s = self._slowest_probe_s, 0.0
        return slowest_s

    @asynccontextmanager
    async def quiet(self, settle_s: float) -> AsyncIterator[None]:
        """No request is under way in this block."""
        self._go.clear()
        async with asyncio.timeout(2 * ANSWER_TIMEOUT_S):
            while self._busy:  # noqa: ASYNC110 (each client ends its request at its own time)
                await asyncio.sleep(0.05)
        await asyncio.sleep(settle_s)
        yield
        self._go.set()

    async def _act(self, rng: random.Random, stream: Stream | None) -> Stream | None:
        """One request; returns the connection if it can be used again."""
        call, chance = rng.choice(self._calls), rng.uniform(0, 100)
        started = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                if stream is None or stream[0].at_eof() or stream[1].is_closing():
                    stream = await self._connect()
                if chance < LEAVES + SENDS_HALF:
                    await self._leave(stream, call, rng, half=chance >= LEAVES)
                    return None
                if chance < LEAVES + SENDS_HALF + SENDS_AHEAD:
                    return await self._send_ahead(stream, call)
                reply = await self._exchange(stream, call)
                self._judge(call, reply)
        except (OSError, EOFError, TimeoutError) as error:
            if stream is not None:
                stream[1].transport.abort()
            self._judge_loss(call.kind, started, error)
            return None
        if rng.random() < KEPT_CONNECTIONS and not reply.closes:
            return stream
        stream[1].close()
        return None

    async def _leave(self, stream: Stream, call: Call, rng: random.Random, *, half: bool) -> None:
        """Close the connection before the answer, or within the request."""
        data = b"".join(call.pieces)
        stream[1].write(data[: rng.randrange(len(data))] if half else data)
        await asyncio.sleep(rng.uniform(0, 0.3))
        if rng.random() < 0.5:
            stream[1].transport.abort()  # with a reset, where anything is unread
        else:
            stream[1].close()
        self.tally.count("half sent" if half else "left early", "left")

    async def _send_ahead(self, stream: Stream, call: Call) -> Stream | None:
        """Several requests at once on one connection; their answers come in order."""
        stream[1].write(b"".join(call.pieces) * PIPELINED)
        for _ in range(PIPELINED):
            reply = await _read(stream[0])
            self._judge(call, reply)
            if reply.closes:
                stream[1].transport.abort()
                return None
        return stream

    async def _exchange(self, stream: Stream, call: Call) -> Reply:
        for number, piece in enumerate(call.pieces):
            if number:
                await asyncio.sleep(PIECE_PAUSE_S)
            stream[1].write(piece)
        return await _read(stream[0])

    async def _connect(self) -> Stream:
        return await asyncio.open_connection(*self._address, limit=2**26)

    def _judge(self, call: Call, reply: Reply) -> None:
        reference = self._references[call]
        if not call.is_right(reply, reference):
            told = f"{reply.status} {reply.body[:300]!r} instead of {reference.status} {reference.body[:300]!r}"
            self.tally.count(call.kind, "wrong", told)
        elif reply.status == reference.status:
            self.tally.count(call.kind, "right")
        else:
            self.tally.count(call.kind, f"refused {reply.status}")

    def _judge_loss(self, kind: str, started: float, error: Exception) -> None:
        now = time.monotonic()
        if any(started - KILL_WINDOW_S <= at <= now + KILL_WINDOW_S for at in self.killed_at):
            self.tally.count(kind, "lost with its process")
        else:
            when = time.strftime("%H:%M:%S")
            self.tally.count(kind, "no answer", f"{error!r} after {now - started:.1f} s, at {when}")


async def _read(reader: asyncio.StreamReader) -> Reply:
    head = await reader.readuntil(b"\r\n\r\n")
    status, length = STATUS.match(head), LENGTH.search(head)
    assert status, head
    body = b""
    if length:
        body = await reader.readexactly(int(length[1]))
    head = head.lower()
    return Reply(int(status[1]), b"application/json" in head, b"connection: close" in head, body)


@asynccontextmanager
async def running(traffic: Traffic, clients: int) -> AsyncIterator[None]:
    """The clients send in this block."""
    tasks = [asyncio.create_task(traffic.client(number)) for number in range(clients)]
    tasks.append(asyncio.create_task(traffic.probe()))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
