"""Waiting for the engine, the client and the deadline at once (docs/http-contract.md, cases 77 and 78)."""

import asyncio
import json
import logging
from typing import Any

import pytest
import uvicorn

from server.engine.batching import BatchLimits
from server.errors import ClientGone, DeadlineExceeded
from server.observability.trace import Trace
from server.processing.context import Receive, RequestContext
from server.registry import ServedModel
from tests.support.server.in_process import InProcessServer, in_process_server, until


async def _never() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def _leaves() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def _request(receive: Receive, timeout_s: float) -> RequestContext:
    return RequestContext(Trace("id"), receive, timeout_s, 0)


async def test_a_result_that_is_there_is_returned() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_result("answer")

    assert await _request(_never, 5).wait_for(future) == "answer"


async def test_a_client_that_leaves_ends_the_waiting() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    with pytest.raises(ClientGone):
        await _request(_leaves, 5).wait_for(future)

    assert not future.done()


async def test_78_so_does_the_deadline() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlineExceeded):
        await _request(_never, 0).wait_for(future)


async def test_a_result_wins_over_a_client_that_left_at_the_same_time() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    future.set_result("answer")

    assert await _request(_leaves, 5).wait_for(future) == "answer"


class _Served:
    """The application behind a real socket."""

    def __init__(self, here: InProcessServer) -> None:
        self._server = uvicorn.Server(uvicorn.Config(here.app, port=0, lifespan="off", log_config=None))
        self._task = asyncio.create_task(self._server.serve())

    async def __aenter__(self) -> "_Served":
        await until(lambda: self._server.started)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        await self._task

    async def send(self, text: str) -> asyncio.StreamWriter:
        """Send a request, and do not read its answer."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = json.dumps({"input": text}).encode()
        writer.write(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        return writer


async def test_77_a_client_that_leaves_the_queue_costs_no_forward_pass(
    embedder: ServedModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hearth.access")
    async with in_process_server(embedder, batch=BatchLimits(1, 1)) as here, _Served(here) as served:
        here.backend.gate.clear()
        running = await served.send("first")
        await until(lambda: here.backend.batches)
        leaving = await served.send("second one")
        await until(lambda: here.engine.state().waiting_items == 2)

        leaving.close()
        await leaving.wait_closed()
        await until(lambda: here.engine.state().waiting_items == 1)
        here.backend.gate.set()
        await until(lambda: here.engine.state().waiting_items == 0)
        answer = await here.embed("third")
        running.close()

    assert answer.status_code == 200
    assert here.backend.batches == [(6,), (6,)]
    assert "POST /v1/embeddings 499" in [record.getMessage() for record in caplog.records]
