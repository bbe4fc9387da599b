"""A cheap HTTP client: many keep-alive connections in one process, prebuilt requests, answers hardly parsed."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import numpy as np

T = TypeVar("T")
Address = tuple[str, int]
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"retry-after: (\d+)", re.IGNORECASE)
TIMING = re.compile(rb"server-timing: ([^\r]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request; `seconds` is from the first byte sent to the last byte received."""

    status: int
    seconds: float
    stages: Mapping[str, float] = field(default_factory=dict)
    retry_after_s: int = 0


class Connection:
    """One keep-alive connection; it carries one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, address: Address) -> Self:
        return cls(*await asyncio.open_connection(*address, limit=2**26))

    async def send(self, request: bytes) -> Answer:
        """Send a request and wait for the whole answer."""
        head, _, seconds = await self._exchange(request)
        timing, retry_after = TIMING.search(head), RETRY_AFTER.search(head)
        stages = _stages(timing[1]) if timing else {}
        return Answer(int(head[9:12]), seconds, stages, int(retry_after[1]) if retry_after else 0)

    async def body(self, request: bytes) -> bytes:
        """Send a request and return the body of the answer."""
        return (await self._exchange(request))[1]

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def _exchange(self, request: bytes) -> tuple[bytes, bytes, float]:
        started = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        assert length, f"the answer has no content-length: {head!r}"
        body = await self._reader.readexactly(int(length[1]))
        return head, body, time.perf_counter() - started


def get(path: str, key: str = "") -> bytes:
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    return f"GET {path} HTTP/1.1\r\nhost: benchmark\r\n{authorization}\r\n".encode()


def post(path: str, body: Mapping[str, Any], key: str = "") -> bytes:
    content = json.dumps(body).encode()
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    head = f"POST {path} HTTP/1.1\r\nhost: benchmark\r\n{authorization}content-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


async def send_for(address: Address, requests: Sequence[bytes], clients: int, seconds: float) -> list[Answer]:
    """Run `clients` clients for `seconds`; each sends its next request when it has its answer."""
    connections = [await Connection.open(address) for _ in range(clients)]
    end = time.perf_counter() + seconds

    async def client(number: int) -> list[Answer]:
        answers: list[Answer] = []
        while time.perf_counter() < end:
            answers.append(await connections[number].send(requests[(number + len(answers) * clients) % len(requests)]))
        return answers

    by_client = await asyncio.gather(*map(client, range(clients)))
    for connection in connections:
        await connection.close()
    return [answer for answers in by_client for answer in answers]


async def metrics(address: Address, key: str = "") -> dict[str, float]:
    """The values of /metrics by name, summed over labels."""
    connection = await Connection.open(address)
    text = (await connection.body(get("/metrics", key))).decode()
    await connection.close()
    totals: dict[str, float] = {}
    for name, value in re.findall(r"^(\w+)(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE):
        totals[name] = totals.get(name, 0.0) + float(value)
    return totals


async def measured(address: Address, step: Callable[[], Awaitable[T]]) -> tuple[T, dict[str, float]]:
    """The result of a step, and by how much each metric grew meanwhile."""
    before = await metrics(address)
    result = await step()
    after = await metrics(address)
    return result, {name: value - before.get(name, 0.0) for name, value in after.items()}


def milliseconds(values: Sequence[float], percent: float) -> float:
    """A percentile of seconds, in milliseconds."""
    return float(np.percentile(np.array(values), percent)) * 1000


def _stages(header: bytes) -> dict[str, float]:
    parts = (part.split(";dur=") for part in header.decode().split(", "))
    return {name: float(value) / 1000 for name, value in parts}
