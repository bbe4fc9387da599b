"""What a connection may cost: over real sockets, with an application that repeats what it read."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from server.api.app import dialect_at
from server.api.auth import Keys
from server.api.reception import Reception
from server.engine.messages import EngineState
from server.launch import http_connection
from server.launch.http_connection import MAX_REQUESTS_AHEAD, ConnectionPool
from server.launch.request_gate import RequestGate
from server.observability.metrics import Metrics

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
BODY = b'{"input": "a"}'


class Echo:
    """Answers with the request's method, path, headers and body; `gate` holds answers back."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = 0

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http"
        self.started += 1
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        else:
            return
        await self.gate.wait()
        headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
        answer = json.dumps([scope["method"], scope["path"], headers, len(body)]).encode()
        length = (b"content-length", str(len(answer)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": answer, "more_body": False})


class World:
    """A listening server and the application behind it."""

    def __init__(self, port: int, app: Echo, metrics: Metrics) -> None:
        self.port, self.app, self.metrics = port, app, metrics

    def refusals(self, reason: str) -> int:
        """How many connections were refused for a reason, as /metrics tells it."""
        text = self.metrics.text(EngineState("ready")).decode()
        counted = re.search(rf'hearth_refusals_total{{reason="{reason}"}} (\d+)', text)
        return int(counted[1]) if counted else 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def answers(self, *pieces: bytes) -> list[tuple[int, Any]]:
        """Every answer to what is sent, until the server closes or is done."""
        reader, writer = await self.connect()
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)  # so that the pieces arrive one by one
        writer.write_eof()
        answers = []
        while (answer := await read_answer(reader)) is not None:
            answers.append(answer)
        writer.close()
        return answers


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, Any] | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = head.decode().lower().split("\r\n")
    length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
    return int(lines[0].split()[1]), json.loads(await reader.readexactly(length))


async def until(happened: Callable[[], object]) -> None:
    while not happened():  # noqa: ASYNC110 (nothing tells of it)
        await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[World]:
    app, metrics = Echo(), Metrics()
    gate = RequestGate(metrics, limits.pop("max_requests", 1000))
    reception = Reception(Keys([]), "/prefix", dialect_at)
    pool = ConnectionPool(metrics, gate=gate, reception=reception, **{"max_connections": 100, **limits})
    connection = pool.connection_class()
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, http=connection, ws="none")
    config.load()
    state = uvicorn.server.ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: connection(config, state, {}), "127.0.0.1", 0)
    async with server:
        yield World(server.sockets[0].getsockname()[1], app, metrics)
        for open_connection in list(state.connections):
            open_connection.transport.abort()


def post(body: bytes = BODY, head: bytes = b"") -> bytes:
    return b"POST /a HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


def chunked(body: bytes, size: int, head: bytes = b"") -> bytes:
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"POST /a HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % (head, framed)


@pytest.mark.parametrize("framed", [post, lambda body, head: chunked(body, 5, head)], ids=["length", "chunked"])
@pytest.mark.parametrize("cut", [1, 2, 7])
async def test_an_offer_of_another_protocol_is_ignored(framed: Callable[..., bytes], cut: int) -> None:
    message = framed(BODY, OFFER) * 2
    size = -(-len(message) // cut)

    async with serving() as world:
        answers = await world.answers(*(message[start : start + size] for start in range(0, len(message), size)))

    assert [status for status, _ in answers] == [200, 200]
    assert [answer[3] for _, answer in answers] == [len(BODY)] * 2
    assert not {"upgrade", "http2-settings"} & {name for name, _ in answers[0][1][2]}


async def test_an_offer_keeps_what_else_the_connection_header_says() -> None:
    head = b"Connection: close, Upgrade\r\nUpgrade: websocket\r\n"

    async with serving() as world:
        answers = await world.answers(post(BODY, head))

    assert ["connection", "close"] in answers[0][1][2]


@pytest.mark.parametrize(
    "sent",
    [b"GET /a HTTP/1.1\r\nX-A: ", b"GET /a HTTP/1.1\r\n" + b"X-A: b\r\n" * 100, b"GET /"],
    ids=["a value", "many lines", "a path"],
)
async def test_a_head_without_end_is_refused_before_it_is_large(sent: bytes) -> None:
    async with serving() as world:
        reader, writer = await world.connect()
        writer.write(sent + b"a" * 70_000)
        status, answer = await read_answer(reader) or (0, None)
        writer.close()

    assert (status, answer["error"]["code"]) == (431, "headers_too_large")
    assert world.app.started == 0


async def test_a_head_of_60_kib_is_read() -> None:
    async with serving() as world:
        answers = await world.answers(b"GET /a HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 60_000 + b"\r\n\r\n")

    assert [status for status, _ in answers] == [200]


@pytest.mark.parametrize(
    "framing",
    [b"d;" + b"a" * 300_000, b"1\r\na\r\n0\r\nX: " + b"a" * 300_000],
    ids=["chunk extension", "trailer"],
)
async def test_framing_without_end_is_refused(framing: bytes) -> None:
    async with serving() as world:
        reader, writer = await world.connect()
        writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + framing)
        status, answer = await read_answer(reader) or (0, None)
        writer.close()

    assert (status, answer["error"]["code"]) == (400, "invalid_http")


@pytest.mark.parametrize("size", [1, 50_000])
async def test_a_large_body_in_chunks_of_any_size_is_read(size: int) -> None:
    body = b"a" * 200_000

    async with serving() as world:
        answers = await world.answers(chunked(body, size), post(body * 5))

    assert [(status, answer[3]) for status, answer in answers] == [(200, len(body)), (200, 5 * len(body))]


@pytest.mark.parametrize(
    "broken",
    [
        b"\x16\x03\x01\x00\xa5garbage\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["TLS", "HTTP/2", "CONNECT"],
)
async def test_what_is_no_http_gets_an_error_of_ours(broken: bytes) -> None:
    async with serving() as world:
        answers = await world.answers(broken)

    assert [(status, answer["error"]["code"]) for status, answer in answers] == [(400, "invalid_http")]


async def test_an_error_waits_for_the_answers_before_it() -> None:
    async with serving() as world:
        world.app.gate.clear()
        reader, writer = await world.connect()
        writer.write(GET * 3 + b"garbage\r\n\r\n")
        await asyncio.sleep(0.05)
        world.app.gate.set()
        answers = [await read_answer(reader) for _ in range(4)]
        writer.close()

    assert [answer[0] for answer in answers if answer] == [200, 200, 200, 400]


async def test_requests_sent_ahead_wait_unread_and_are_all_answered_in_order() -> None:
    count = 5_000
    sent = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(count))

    async with serving() as world:
        world.app.gate.clear()
        reader, writer = await world.connect()
        writer.write(sent)
        await asyncio.sleep(0.1)
        started = world.app.started
        world.app.gate.set()
        answers = [await read_answer(reader) for _ in range(count)]
        writer.close()

    assert started == 1
    assert [answer[1][1] for answer in answers if answer] == [f"/{number}" for number in range(count)]


async def test_a_request_that_waits_for_its_body_does_not_let_others_in() -> None:
    async with serving() as world:
        world.app.gate.clear()
        reader, writer = await world.connect()
        writer.write(GET * (MAX_REQUESTS_AHEAD + 50) + post())
        await asyncio.sleep(0.05)
        world.app.gate.set()
        answers = [await read_answer(reader) for _ in range(MAX_REQUESTS_AHEAD + 51)]
        writer.close()

    assert [answer[1][0] for answer in answers if answer].count("POST") == 1
    assert len(answers) == MAX_REQUESTS_AHEAD + 51


async def test_a_connection_that_sends_nothing_is_closed() -> None:
    async with serving(head_timeout_s=0.1) as world:
        reader, writer = await world.connect()

        assert await asyncio.wait_for(reader.read(), 5) == b""

        writer.close()


async def test_a_connection_whose_head_stays_half_is_closed() -> None:
    async with serving(head_timeout_s=0.1) as world:
        reader, writer = await world.connect()
        writer.write(GET[:20])

        assert await asyncio.wait_for(reader.read(), 5) == b""

        writer.close()
    assert world.refusals("head_timeout") == 1


async def test_an_answer_may_take_longer_than_a_head() -> None:
    async with serving(head_timeout_s=0.05) as world:
        world.app.gate.clear()
        reader, writer = await world.connect()
        writer.write(GET)
        await asyncio.sleep(0.2)
        world.app.gate.set()
        answer = await asyncio.wait_for(read_answer(reader), 5)
        writer.close()

    assert answer is not None
    assert answer[0] == 200


async def test_the_connection_that_is_idle_the_longest_makes_room() -> None:
    async with serving(max_connections=3) as world:
        connections = [await world.connect() for _ in range(3)]
        for reader, writer in connections[:2]:
            writer.write(GET)
            assert await read_answer(reader) is not None
        late_reader, late_writer = await world.connect()
        late_writer.write(GET)
        answer = await read_answer(late_reader)

        # The third never sent anything, so that it was idle before the others were.
        assert await connections[2][0].read() == b""
        connections[0][1].write(GET)
        assert await read_answer(connections[0][0]) is not None
        for _, writer in (*connections, (late_reader, late_writer)):
            writer.close()

    assert answer is not None
    assert answer[0] == 200
    assert world.refusals("idle_connection") == 1


async def test_a_connection_too_many_is_refused_when_all_are_busy() -> None:
    async with serving(max_connections=2) as world:
        world.app.gate.clear()
        busy = [await world.connect() for _ in range(2)]
        for _, writer in busy:
            writer.write(GET)
        await asyncio.sleep(0.05)
        reader, writer = await world.connect()
        refused = await read_answer(reader)
        world.app.gate.set()
        answers = [await read_answer(reader) for reader, _ in busy]
        for _, open_writer in (*busy, (reader, writer)):
            open_writer.close()

    assert refused is None
    assert [answer[0] for answer in answers if answer] == [200, 200]
    assert world.refusals("too_many_connections") == 1


async def test_a_request_too_many_is_refused_before_its_body_and_the_connection_goes_on() -> None:
    async with serving(max_requests=1) as world:
        world.app.gate.clear()
        _, first = await world.connect()
        first.write(GET)
        await first.drain()
        await until(lambda: world.app.started)

        reader, writer = await world.connect()
        writer.write(post(b"x" * 100_000)[:1000])
        refused = await read_answer(reader)
        writer.write(post(b"x" * 100_000)[1000:])
        writer.write(b"GET /prefix/live/ HTTP/1.1\r\nHost: x\r\n\r\n")
        world.app.gate.set()
        probe = await read_answer(reader)
        writer.close()
        first.close()

    assert refused is not None
    assert refused[0] == 429
    assert refused[1]["error"]["code"] == "rate_limit_exceeded"
    assert probe is not None
    assert probe[0] == 200
    assert world.refusals("too_many_requests") == 1


async def test_a_refusal_has_the_headers_and_the_shape_of_its_path() -> None:
    async with serving(max_requests=0) as world:
        reader, writer = await world.connect()
        head = b"POST /embed HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nContent-Length: 0\r\n\r\n"
        writer.write(head)
        answer = (await reader.readuntil(b"}")).decode()
        writer.write(head.replace(b"POST /embed", b"HEAD /embed").replace(b"mine", b"mine\r\nConnection: close"))
        of_head = (await reader.read()).decode()
        writer.close()

    assert answer.startswith("HTTP/1.1 429 Too Many Requests\r\n")
    for header in ("Retry-After: 1", "x-request-id: mine", "server-timing: total;dur=", "openai-processing-ms: 0"):
        assert f"\r\n{header}" in answer
    assert '"error_type":"Overloaded"' in answer
    assert of_head.startswith("HTTP/1.1 429")
    assert of_head.endswith("\r\nconnection: close\r\n\r\n")


@pytest.mark.parametrize(("size", "rests"), [(4_000_000, True), (1000, False)])
async def test_the_rest_of_a_large_refused_body_is_read_after_a_second(
    monkeypatch: pytest.MonkeyPatch, size: int, *, rests: bool
) -> None:
    monkeypatch.setattr(http_connection, "REST_S", 0.3)
    async with serving(max_requests=0) as world:
        reader, writer = await world.connect()
        message = post(b"x" * size)
        writer.write(message[:200])
        first = await read_answer(reader)
        started = asyncio.get_running_loop().time()
        writer.write(message[200:] + GET)
        second = await read_answer(reader)
        took_s = asyncio.get_running_loop().time() - started
        writer.close()

    assert first is not None
    assert second is not None
    assert (first[0], second[0]) == (429, 429)
    assert (took_s > 0.25) is rests
