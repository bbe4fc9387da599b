"""An engine client whose engine dies at the worst moment."""

import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from models import Readout
from server.engine.admission import Admission
from server.engine.messages import (
    CancelRequest,
    EngineFailure,
    EngineReport,
    EngineRequest,
    EngineResult,
    EngineState,
    Subscribe,
    Timings,
    decode,
    encode,
)
from server.engine.status_page import StatusPage, status_memory
from server.engine.zmq_transport import ZmqEngineClient
from tests.support.server.in_process import until

READY = EngineReport(EngineState("ready"), {})


class _Engine:
    """The engine's end of the connection, played by the test."""

    def __init__(self, client_end: ZmqEngineClient, address: str) -> None:
        self.page = StatusPage(client_end._status)
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 1000)
        self.socket.bind(address)

    def receive(self) -> tuple[bytes, object]:
        """The next message; waits up to 5 s."""
        assert self.socket.poll(5000), "no message arrived within 5 s"
        client, *frames = self.socket.recv_multipart()
        return client, decode(frames)

    def launch(self, client: bytes, request: EngineRequest, *, alone: bool) -> None:
        """Note that a request is in flight."""
        self.page.hold([(client, request.id)], alone=alone)

    def answer(self, client: bytes, request: EngineRequest) -> None:
        """Answer a request with one row."""
        result = EngineResult(request.id, np.ones((1, 2), np.float32), Timings(0, 0, 1))
        self.socket.send_multipart([client, *encode(result)])

    def has_no_message(self) -> bool:
        """Whether no message arrives within 200 ms."""
        return not self.socket.poll(200)


def _address(folder: Path) -> str:
    return f"ipc://{folder}/engine"


def _client_end(folder: Path) -> ZmqEngineClient:
    return ZmqEngineClient(_address(folder), Admission(100, 100, 10), status_memory())


def _request(client_end: ZmqEngineClient) -> EngineRequest:
    return EngineRequest(
        client_end.new_id(), "m", Readout("vector"), [np.array([1, 2], np.int32)], np.zeros(1, np.int32)
    )


async def _connected(client_end: ZmqEngineClient, address: str) -> tuple[_Engine, bytes]:
    engine = _Engine(client_end, address)
    await until(lambda: engine.socket.poll(0))
    client, subscription = engine.receive()
    assert isinstance(subscription, Subscribe)
    engine.socket.send_multipart([client, *encode(READY)])
    await until(lambda: client_end.state().phase == "ready")
    return engine, client


async def test_a_report_of_an_engine_that_died_is_ignored(tmp_path: Path) -> None:
    async with _client_end(tmp_path) as client_end:
        engine, client = await _connected(client_end, _address(tmp_path))

        # All of this happens before the event loop sees any of it.
        engine.socket.send_multipart([client, *encode(READY)])
        engine.socket.close()
        time.sleep(0.3)  # noqa: ASYNC251
        await until(lambda: client_end.state().phase == "loading")
        next_engine = _Engine(client_end, _address(tmp_path))
        await until(lambda: next_engine.socket.poll(0))

        assert client_end.state().phase == "loading"
        next_engine.socket.close()


async def test_a_request_to_an_engine_that_died_reaches_the_next_one_once(tmp_path: Path) -> None:
    async with _client_end(tmp_path) as client_end:
        engine, _ = await _connected(client_end, _address(tmp_path))

        engine.socket.close()
        time.sleep(0.3)  # noqa: ASYNC251
        request = _request(client_end)
        future = client_end.submit(request)
        next_engine, client = await _connected(client_end, _address(tmp_path))
        _, message = next_engine.receive()
        next_engine.answer(client, request)

        assert isinstance(message, EngineRequest)
        assert not message.alone
        assert isinstance(await future, EngineResult)
        assert next_engine.has_no_message()
        assert (client_end.state().waiting_items, client_end.state().waiting_tokens) == (0, 0)
        next_engine.socket.close()


async def test_what_was_in_flight_runs_alone_and_what_waited_does_not(tmp_path: Path) -> None:
    async with _client_end(tmp_path) as client_end:
        engine, client = await _connected(client_end, _address(tmp_path))
        launched, waiting = _request(client_end), _request(client_end)

        futures = [client_end.submit(launched), client_end.submit(waiting)]
        assert [engine.receive()[1].id, engine.receive()[1].id] == [launched.id, waiting.id]
        engine.launch(client, launched, alone=False)
        engine.socket.close()
        next_engine, client = await _connected(client_end, _address(tmp_path))
        messages = [next_engine.receive()[1], next_engine.receive()[1]]
        next_engine.answer(client, launched)
        next_engine.answer(client, waiting)

        assert [(message.id, message.alone) for message in messages] == [(launched.id, True), (waiting.id, False)]
        assert [(await future).id for future in futures] == [launched.id, waiting.id]
        next_engine.socket.close()


async def test_what_ends_an_engine_alone_fails_and_is_not_sent_again(tmp_path: Path) -> None:
    async with _client_end(tmp_path) as client_end:
        guilty = _request(client_end)

        engine, client = await _connected(client_end, _address(tmp_path))
        future = client_end.submit(guilty)
        engine.receive()
        engine.launch(client, guilty, alone=False)
        engine.socket.close()
        engine, client = await _connected(client_end, _address(tmp_path))
        engine.receive()
        engine.launch(client, guilty, alone=True)
        engine.socket.close()
        failure = await future
        engine, client = await _connected(client_end, _address(tmp_path))
        again = await client_end.submit(_request(client_end))

        assert failure == EngineFailure(guilty.id, "engine_died")
        assert again.reason == "engine_died"
        assert engine.has_no_message()
        engine.socket.close()


async def test_what_waits_for_an_engine_that_does_not_come_back_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.engine.client.RESUME_WITHIN_S", 0.05)
    async with _client_end(tmp_path) as client_end:
        engine, _ = await _connected(client_end, _address(tmp_path))

        future = client_end.submit(_request(client_end))
        engine.receive()
        engine.socket.close()

        assert (await future).reason == "unavailable"
        assert client_end.state().waiting_items == 0


async def test_while_an_engine_is_silent_it_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.engine.client.RESUME_WITHIN_S", 0.05)
    monkeypatch.setattr("server.engine.status_page.SILENCE_S", 0.3)
    async with _client_end(tmp_path) as client_end:
        engine, client = await _connected(client_end, _address(tmp_path))

        future = client_end.submit(_request(client_end))
        engine.receive()
        engine.page.beat()
        await until(lambda: client_end.state().phase == "loading")
        engine.socket.send_multipart([client, *encode(READY)])
        answer = await future
        reason = client_end.state().reason
        engine.page.beat()
        await until(lambda: engine.socket.poll(0))
        engine.socket.send_multipart([client, *encode(READY)])
        await until(lambda: client_end.state().phase == "ready")

        assert answer.reason == "unavailable"
        assert "no sign of life" in reason
        engine.socket.close()


async def test_an_answer_after_cancel_is_dropped(tmp_path: Path) -> None:
    async with _client_end(tmp_path) as client_end:
        engine, client = await _connected(client_end, _address(tmp_path))
        request = _request(client_end)

        future = client_end.submit(request)
        client_end.cancel(request.id)
        await until(lambda: engine.socket.poll(0))
        messages = [engine.receive()[1], engine.receive()[1]]
        engine.socket.send_multipart(
            [client, *encode(EngineResult(request.id, np.zeros((1, 2), np.float32), Timings(0, 0, 1)))]
        )
        future_of_second = client_end.submit(_request(client_end))
        engine.socket.send_multipart(
            [client, *encode(EngineResult(request.id + 1, np.ones((1, 2), np.float32), Timings(0, 0, 1)))]
        )
        answer = await future_of_second

        assert future.cancelled()
        assert [type(message) for message in messages] == [EngineRequest, CancelRequest]
        assert answer.rows.tolist() == [[1, 1]]
        engine.socket.close()
