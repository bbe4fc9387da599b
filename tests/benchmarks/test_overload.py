"""The benchmark of overload: its clients, and what it writes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from xml.etree import ElementTree as ET

from benchmarks.overload import LOADS, draw, table
from benchmarks.support.client import post
from benchmarks.support.open_loop import TRIES, OpenLoop

FIGURES = {load: {"offered/s": 100.0 * load, "goodput/s": 95.0} for load in LOADS}


@asynccontextmanager
async def _server(*heads: bytes) -> AsyncIterator[tuple[str, int]]:
    """Answers the requests of all connections with these heads in turn, and then with the last one."""
    left = list(heads)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            while await reader.readline() != b"\r\n":
                pass
            await reader.readexactly(2)
            assert head.startswith(b"POST /a ")
            writer.write(b"HTTP/1.1 " + (left.pop(0) if len(left) > 1 else left[0]) + b"\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[:2]


async def test_a_refused_client_tries_again_and_gives_up_after_three_tries() -> None:
    async with _server(b"429 No\r\nretry-after: 0", b"200 OK", b"429 No\r\nretry-after: 0") as address:
        clients = OpenLoop(address, [post("/a", {})])
        await clients.run(per_second=1, seconds=0.01)
        await clients.run(per_second=1, seconds=0.01)
        first = [answer.status for answer in clients.tries]
        clients.sent = 0
        await clients.run(per_second=1, seconds=0.01)

    assert first == [429, 200]
    assert [answer.status for answer in clients.tries[2:]] == [429] * TRIES
    assert clients.gave_up == 1


def test_the_table_and_the_picture_show_every_load() -> None:
    rows = table(100.0, FIGURES)
    picture = ET.fromstring(draw(100.0, FIGURES))

    assert [row[0] for row in rows[1:]] == ["1 times", "2 times", "5 times"]
    assert rows[1][-1] == "95%"
    assert {"1 x", "2 x", "5 x", "peak 100/s"} <= {element.text for element in picture.iter()}
