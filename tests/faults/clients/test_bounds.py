"""Large bodies, large texts and much JSON: memory stays bounded, and small requests pass them."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

from tests.support.server.fake_models import Clients, FakeModel, get_page, in_flight, pid_of
from tests.support.server.process import ServerProcess

MIB = 1024 * 1024
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
# Some 2.5 million tokens: ten seconds of a thread.
LARGE = ["lorem ipsum dolor " * 555] * 1000
# A query is answered within milliseconds on a machine that has nothing else to do.
SOON_S = 3.0


def _rss_mib(hearth: ServerProcess) -> float:
    status = Path(f"/proc/{pid_of(hearth)}/status").read_text("ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def _seconds(call: Callable[..., httpx.Response], *arguments: Any) -> float:
    started = monotonic()
    answer = await asyncio.to_thread(call, *arguments)
    assert answer.status_code == 200
    return monotonic() - started


def _embed(hearth: ServerProcess, texts: Any) -> httpx.Response:
    return hearth.client.post("/v1/embeddings", json={"input": texts})


async def test_half_bodies_hold_no_more_than_their_budget(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model, body_memory_bytes=16 * MIB)
    before_mib = _rss_mib(hearth)

    with ExitStack() as stack:
        for _ in range(12):
            client = stack.enter_context(socket.create_connection(hearth.address, timeout=30))
            # Sent to the end although most are refused: what is left of a refused body is thrown away.
            client.sendall(HEAD % (11 * MIB) + b"a" * (10 * MIB))
        grown_mib = _rss_mib(hearth) - before_mib
        small_s = await _seconds(_embed, hearth, "a")

    assert grown_mib < 48
    assert small_s < SOON_S


async def test_small_requests_pass_large_texts_and_a_client_that_leaves_takes_its_work_along(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    bulk = Clients(hearth)
    before_mib = _rss_mib(hearth)

    bulk.send(6, LARGE)
    await in_flight(hearth, 6)
    small_s = [await _seconds(_embed, hearth, ["a question"] * 20) for _ in range(3)]
    page_s = await _seconds(get_page, hearth, "/metrics")
    grown_mib = _rss_mib(hearth) - before_mib
    await bulk.hang_up()
    await in_flight(hearth, 0)
    later_s = await _seconds(_embed, hearth, ["a question " * 700] * 10)

    assert max(*small_s, page_s, later_s) < SOON_S
    # Two bodies and what is made of them for each of six requests, and a group of texts in each of a few threads.
    assert grown_mib < 500


async def test_json_of_millions_of_lists_stops_nobody(start: Callable[..., ServerProcess], model: FakeModel) -> None:
    hearth = start(model)
    body = b'{"input":"a","x":[' + b"[1]," * (7 * MIB) + b"0]}"
    before_mib = _rss_mib(hearth)

    hostile = asyncio.create_task(asyncio.to_thread(hearth.client.post, "/v1/embeddings", content=body))
    waits_s = []
    while not hostile.done():
        waits_s.append(await _seconds(get_page, hearth, "/live"))
        await asyncio.sleep(0.01)

    assert (await hostile).status_code == 400
    assert max(waits_s) < 1.5
    assert _rss_mib(hearth) - before_mib < 150
