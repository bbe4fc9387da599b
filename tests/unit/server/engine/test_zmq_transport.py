"""Both ends of the connection over a real socket; the engine is a thread here."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import Readout
from models.backends.fake import FakeBackend
from server.engine.admission import Admission
from server.engine.batching import BatchLimits
from server.engine.loop import ClientId, EngineLoop, FromClient
from server.engine.messages import EngineRequest, EngineResult, Message, decode
from server.engine.scheduler import Scheduler
from server.engine.zmq_transport import ANSWERS_IN_TURN, ZmqEngineClient, ZmqTransport
from server.errors import Draining, ModelLoading, QueueFull, Unavailable
from tests.support.server.in_process import ADMISSION, BATCH, until


class _ClosableTransport(ZmqTransport):
    """A transport that wakes up now and then to see whether its thread is to end."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.closed = False

    def receive(self, wait_s: float | None) -> Iterable[tuple[ClientId, FromClient]]:
        return super().receive(0.02 if wait_s is None else wait_s)

    def end(self) -> None:
        self._socket.close()


@contextmanager
def _engine(address: str, backend: FakeBackend, limits: BatchLimits = BATCH) -> Iterator[None]:
    transports: list[_ClosableTransport] = []
    bound = threading.Event()

    def main() -> None:
        transport = _ClosableTransport(address)
        transports.append(transport)
        bound.set()
        EngineLoop(Scheduler({"m": backend}, limits), transport, lambda _: None).run()
        transport.end()

    thread = threading.Thread(target=main)
    thread.start()
    bound.wait()
    yield
    transports[0].closed = True
    backend.gate.set()
    thread.join()


@asynccontextmanager
async def _client(address: str, admission: Admission = ADMISSION) -> AsyncIterator[ZmqEngineClient]:
    async with ZmqEngineClient(address, admission) as engine:
        yield engine


@pytest.fixture
def address(tmp_path: Path) -> str:
    """The address of the engine."""
    return f"ipc://{tmp_path}/engine"


def _request(engine: ZmqEngineClient, *lengths: int) -> EngineRequest:
    ids = [np.arange(length, dtype=np.int32) for length in lengths]
    return EngineRequest(engine.new_id(), "m", Readout("vector"), ids, np.zeros(len(ids), dtype=np.int32))


async def test_before_the_engine_listens_it_is_loading(address: str) -> None:
    async with _client(address) as engine:
        with pytest.raises(ModelLoading):
            engine.check_open()

        assert engine.info == {}


async def test_a_request_is_answered_with_its_rows(address: str) -> None:
    backend = FakeBackend()
    with _engine(address, backend):
        async with _client(address) as engine:
            await until(lambda: engine.state().phase == "ready")
            answer = await engine.submit(_request(engine, 3, 4))

            assert isinstance(answer, EngineResult)
            assert answer.rows.shape == (2, backend.width)
            assert answer.timings.batches == 1
            assert engine.info["m"].backend == "fake"
            assert engine.state().waiting_items == 0


async def test_after_a_message_that_cannot_be_decoded_the_engine_does_not_look_ready(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both ends of the socket live in this process, and only an engine sends reports.
    def broken(frames: Sequence[Any]) -> Message:
        if bytes(frames[0]) == b"report":
            raise ValueError("no such message")
        return decode(frames)

    with _engine(address, FakeBackend()):
        async with _client(address) as engine:
            monkeypatch.setattr("server.engine.zmq_transport.decode", broken)
            await until(lambda: engine.state().phase == "failed")

            assert engine.state().reason.endswith("no such message")
            with pytest.raises(Unavailable):
                engine.check_open()


async def test_each_client_gets_its_own_answers(address: str) -> None:
    with _engine(address, FakeBackend()):
        async with _client(address) as first, _client(address) as second:
            await until(lambda: first.state().phase == second.state().phase == "ready")
            answers = await asyncio.gather(first.submit(_request(first, 2)), second.submit(_request(second, 3, 3)))

    assert [len(answer.rows) for answer in answers] == [1, 2]


async def test_75_the_requests_of_other_clients_count(address: str) -> None:
    backend = FakeBackend()
    with _engine(address, backend, BatchLimits(1, 1)):
        async with _client(address) as first, _client(address, Admission(10, 100, 590)) as second:
            await until(lambda: first.state().phase == second.state().phase == "ready")
            backend.gate.clear()
            running = first.submit(_request(first, 8))
            await until(lambda: second.state().waiting_tokens == 8)
            with pytest.raises(QueueFull):
                second.submit(_request(second, 3))
            backend.gate.set()
            await running


async def test_77_a_request_that_is_cancelled_while_it_waits_never_runs(address: str) -> None:
    backend = FakeBackend()
    with _engine(address, backend, BatchLimits(1, 1)):
        async with _client(address) as engine:
            await until(lambda: engine.state().phase == "ready")
            backend.gate.clear()
            running, waiting = engine.submit(_request(engine, 1)), _request(engine, 2)
            await until(lambda: backend.batches)
            future = engine.submit(waiting)
            engine.cancel(waiting.id)
            last = engine.submit(_request(engine, 3))
            backend.gate.set()
            await asyncio.gather(running, last)

    assert future.cancelled()
    assert backend.batches == [(1,), (3,)]


async def test_a_draining_engine_refuses_new_requests_and_answers_those_it_has(address: str) -> None:
    with _engine(address, FakeBackend()):
        async with _client(address) as engine:
            await until(lambda: engine.state().phase == "ready")
            engine.drain()

            with pytest.raises(Draining):
                engine.check_open()
            answer = await engine.submit(_request(engine, 1))

    assert isinstance(answer, EngineResult)


async def test_when_the_process_ends_the_next_one_serves_what_waits_and_what_is_new(address: str) -> None:
    backend = FakeBackend()
    async with _client(address) as engine:
        with _engine(address, backend, BatchLimits(1, 1)):
            await until(lambda: engine.state().phase == "ready")
            backend.gate.clear()
            engine.submit(_request(engine, 1))
            await until(lambda: backend.batches)
            waiting = engine.submit(_request(engine, 2))
        await until(lambda: engine.state().phase == "loading")
        new = engine.submit(_request(engine, 3))
        with _engine(address, FakeBackend()):
            await until(lambda: engine.state().phase == "ready")
            answers = await asyncio.gather(waiting, new)

    assert [type(answer) for answer in answers] == [EngineResult] * 2


async def test_a_request_is_refused_once_the_next_process_is_overdue(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.engine.client.RESUME_WITHIN_S", 0.05)
    async with _client(address) as engine:
        with _engine(address, FakeBackend()):
            await until(lambda: engine.state().phase == "ready")
        await until(lambda: engine.state().phase == "loading")
        waiting = await engine.submit(_request(engine, 1))
        with pytest.raises(ModelLoading):
            engine.check_open()

    assert waiting.reason == "unavailable"


async def test_a_process_that_does_not_come_back_is_reported(address: str) -> None:
    async with _client(address) as engine:
        engine.fail("its weights are damaged")

        with pytest.raises(Unavailable):
            engine.check_open()
        assert engine.state().reason == "its weights are damaged"


@pytest.mark.parametrize("callers", [1, 2])
async def test_answers_for_several_callers_come_a_few_in_each_round_of_the_loop(address: str, callers: int) -> None:
    backend = FakeBackend()
    with _engine(address, backend, BatchLimits(1000, 1000)):
        async with _client(address) as engine:
            await until(lambda: engine.state().phase == "ready")
            backend.gate.clear()
            for number in range(callers):
                # Callers that wait until the test ends.
                engine._queues.add("m", 0, 0, f"caller {number}")
            futures = [engine.submit(replace(_request(engine, 3), caller="caller 0")) for _ in range(20)]
            await asyncio.sleep(0.05)
            backend.gate.set()
            time.sleep(0.2)  # noqa: ASYNC251 (until all answers are there)
            in_rounds = [0]
            while in_rounds[-1] < len(futures):
                await asyncio.sleep(0)
                in_rounds.append(sum(future.done() for future in futures))

    largest = max(after - before for before, after in pairwise(in_rounds))
    assert (largest > ANSWERS_IN_TURN) is (callers == 1)
