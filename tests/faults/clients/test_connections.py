"""What clients do to a connection: they reset it, read nothing, and send more than they wait for."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from tests.support.server.fake_models import (
    Clients,
    FakeModel,
    get_page,
    hold,
    in_flight,
    metric_total,
    pid_of,
    queued,
    until,
)
from tests.support.server.process import ServerProcess

BODY = b'{"input": "a"}'
POST = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST
LEFT = 'hearth_requests_total{route="/v1/embeddings",status="499"}'


@contextmanager
def _sockets(hearth: ServerProcess, count: int, data: bytes, *, reset: bool = False) -> Iterator[list[socket.socket]]:
    """Connections that sent `data`; at the end they are closed, or reset."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_connection(hearth.address, timeout=30)) for _ in range(count)]
        for client in sockets:
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.sendall(data)
        yield sockets


def _send_until_full(client: socket.socket, data: bytes) -> None:
    client.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            client.send(data)


def _descriptors(hearth: ServerProcess) -> int:
    return len(list(Path(f"/proc/{pid_of(hearth)}/fd").iterdir()))


def _rss_mib(hearth: ServerProcess) -> float:
    status = Path(f"/proc/{pid_of(hearth)}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def _seconds(hearth: ServerProcess, path: str) -> float:
    """How long a GET takes over a new connection; the answer must be 200."""
    started = monotonic()
    answer = await asyncio.to_thread(get_page, hearth, path)
    assert answer.status_code == 200
    return monotonic() - started


@pytest.mark.parametrize(
    "sent", [POST % len(BODY) + BODY, POST % 1000 + BODY, POST[:50]], ids=["whole", "half body", "half head"]
)
async def test_connections_that_are_reset_leave_nothing_behind(
    start: Callable[..., ServerProcess], model: FakeModel, sent: bytes
) -> None:
    hearth = start(model)
    patient = Clients(hearth)

    await hold(hearth, model, patient)
    before = _descriptors(hearth)
    with _sockets(hearth, 40, sent, reset=True):
        await until(hearth, lambda: _descriptors(hearth) >= before + 30)
    # The server's own files may be a few more by then.
    await until(hearth, lambda: _descriptors(hearth) <= before + 10)
    await queued(hearth, 0)
    await in_flight(hearth, 1)
    model.release()
    [answer] = await patient.answers()

    assert answer.status_code == 200
    assert metric_total(hearth, "hearth_batch_items_sum") == 1
    assert "Traceback" not in hearth.text()


async def test_thousands_of_requests_ahead_cost_others_nothing(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    before_mib = _rss_mib(hearth)

    with _sockets(hearth, 20, b"") as rude:
        for client in rude:
            _send_until_full(client, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        waits = [await _seconds(hearth, "/live") for _ in range(10)]
        grown_mib = _rss_mib(hearth) - before_mib

    assert max(waits) < 3
    assert grown_mib < 64


async def test_answers_that_nobody_reads_cost_others_nothing(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    clients = Clients(hearth)
    body = b'{"input": [' + b'"a", ' * 1999 + b'"a"]}'

    with _sockets(hearth, 8, POST % len(body) + body):
        await until(hearth, lambda: metric_total(hearth, "hearth_batch_items_sum") == 8 * 2000)
        clients.send(10)
        answers = await clients.answers()
        waits = [await _seconds(hearth, "/live") for _ in range(5)]
    await in_flight(hearth, 0)

    assert [answer.status_code for answer in answers] == [200] * 10
    assert max(waits) < 3


async def test_a_head_without_end_is_refused_while_others_are_answered(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    before_mib = _rss_mib(hearth)

    with _sockets(hearth, 5, b"GET /live HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 60_000) as rude:
        for client in rude:
            client.sendall(b"y" * 60_000)
        answers = [client.makefile("rb").read(12) for client in rude]
        wait_s = await _seconds(hearth, "/live")

    assert answers == [b"HTTP/1.1 431"] * 5
    assert wait_s < 3
    assert _rss_mib(hearth) - before_mib < 32


async def test_a_client_that_leaves_while_its_body_is_sent_costs_nothing(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    after = Clients(hearth)

    with _sockets(hearth, 10, POST % 10**6 + b"x" * 10**5):
        await in_flight(hearth, 10)
    await in_flight(hearth, 0)
    after.send(1)
    [answer] = await after.answers()

    assert metric_total(hearth, LEFT) == 10
    assert answer.status_code == 200
