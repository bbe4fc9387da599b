"""The near side of an engine process, over a real socket; the far side is a thread here."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import Readout
from models.backends.fake import FakeBackend
from server.engine.admission import Admission
from server.engine.batching import BatchLimits
from server.engine.loop import Client, EngineLoop, FromClient
from server.engine.messages import EngineFailure, EngineRequest, EngineResult, Message, decode
from server.engine.scheduler import Scheduler
from server.engine.zmq_transport import ZmqEngineClient, ZmqTransport
from server.errors import Draining, ModelLoading, QueueFull, Unavailable
from tests.support.server.in_process import ADMISSION, BATCH, until


class _ClosingPort(ZmqTransport):
    """A port that looks now and then whether its thread is to end."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.closed = False

    def receive(self, wait_s: float | None) -> Iterable[tuple[Client, FromClient]]:
        return super().receive(0.02 if wait_s is None else wait_s)

    def end(self) -> None:
        self._socket.close()


@contextmanager
def _far_side(address: str, backend: FakeBackend, limits: BatchLimits = BATCH) -> Iterator[None]:
    ports: list[_ClosingPort] = []
    bound = threading.Event()

    def main() -> None:
        port = _ClosingPort(address)
        ports.append(port)
        bound.set()
        EngineLoop(Scheduler({"m": backend}, limits), port, lambda _: None).run()
        port.end()

    thread = threading.Thread(target=main)
    thread.start()
    bound.wait()
    yield
    ports[0].closed = True
    backend.gate.set()
    thread.join()


@asynccontextmanager
async def _near_side(address: str, admission: Admission = ADMISSION) -> AsyncIterator[ZmqEngineClient]:
    async with ZmqEngineClient(address, admission) as engine:
        yield engine


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Where an engine listens."""
    return f"ipc://{tmp_path}/engine"


def _work(engine: ZmqEngineClient, *lengths: int) -> EngineRequest:
    ids = [np.arange(length, dtype=np.int32) for length in lengths]
    return EngineRequest(engine.new_id(), "m", Readout("vector"), ids, np.zeros(len(ids), dtype=np.int32))


async def test_before_the_engine_is_there_it_is_loading(address: str) -> None:
    async with _near_side(address) as engine:
        with pytest.raises(ModelLoading):
            engine.check_open()

        assert engine.info == {}


async def test_work_goes_over_and_rows_come_back(address: str) -> None:
    backend = FakeBackend()
    with _far_side(address, backend):
        async with _near_side(address) as engine:
            await until(lambda: engine.state().phase == "ready")
            answer = await engine.submit(_work(engine, 3, 4))

            assert isinstance(answer, EngineResult)
            assert answer.rows.shape == (2, backend.width)
            assert answer.timings.batches == 1
            assert engine.info["m"].backend == "fake"
            assert engine.state().waiting_items == 0


async def test_an_engine_that_can_no_longer_be_heard_does_not_look_ready(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both ends of the socket live in this process, and only an engine sends reports.
    def broken(frames: Sequence[Any]) -> Message:
        if bytes(frames[0]) == b"report":
            raise ValueError("no such message")
        return decode(frames)

    with _far_side(address, FakeBackend()):
        async with _near_side(address) as engine:
            monkeypatch.setattr("server.engine.zmq_transport.decode", broken)
            await until(lambda: engine.state().phase == "failed")

            assert engine.state().reason.endswith("no such message")
            with pytest.raises(Unavailable):
                engine.check_open()


async def test_two_clients_get_their_own(address: str) -> None:
    with _far_side(address, FakeBackend()):
        async with _near_side(address) as one, _near_side(address) as other:
            await until(lambda: one.state().phase == other.state().phase == "ready")
            answers = await asyncio.gather(one.submit(_work(one, 2)), other.submit(_work(other, 3, 3)))

    assert [len(answer.rows) for answer in answers] == [1, 2]


async def test_75_what_others_have_sent_counts(address: str) -> None:
    backend = FakeBackend()
    with _far_side(address, backend, BatchLimits(1, 1)):
        async with _near_side(address) as one, _near_side(address, Admission(10, 100, 590)) as other:
            await until(lambda: one.state().phase == other.state().phase == "ready")
            backend.gate.clear()
            running = one.submit(_work(one, 8))
            await until(lambda: other.state().waiting_tokens == 8)
            with pytest.raises(QueueFull):
                other.submit(_work(other, 3))
            backend.gate.set()
            await running


async def test_77_what_is_cancelled_while_it_waits_never_runs(address: str) -> None:
    backend = FakeBackend()
    with _far_side(address, backend, BatchLimits(1, 1)):
        async with _near_side(address) as engine:
            await until(lambda: engine.state().phase == "ready")
            backend.gate.clear()
            running, waiting = engine.submit(_work(engine, 1)), _work(engine, 2)
            await until(lambda: backend.batches)
            future = engine.submit(waiting)
            engine.cancel(waiting.id)
            last = engine.submit(_work(engine, 3))
            backend.gate.set()
            await asyncio.gather(running, last)

    assert future.cancelled()
    assert backend.batches == [(1,), (3,)]


async def test_a_draining_engine_takes_nothing_new_and_answers_what_is_on_its_way(address: str) -> None:
    with _far_side(address, FakeBackend()):
        async with _near_side(address) as engine:
            await until(lambda: engine.state().phase == "ready")
            engine.drain()

            with pytest.raises(Draining):
                engine.check_open()
            answer = await engine.submit(_work(engine, 1))

    assert isinstance(answer, EngineResult)


async def test_when_the_process_ends_everybody_is_told_and_the_next_one_serves(address: str) -> None:
    backend = FakeBackend()
    async with _near_side(address) as engine:
        with _far_side(address, backend, BatchLimits(1, 1)):
            await until(lambda: engine.state().phase == "ready")
            backend.gate.clear()
            engine.submit(_work(engine, 1))
            await until(lambda: backend.batches)
            waiting = engine.submit(_work(engine, 2))
        lost = await waiting
        with pytest.raises(ModelLoading):
            engine.check_open()
        with _far_side(address, FakeBackend()):
            await until(lambda: engine.state().phase == "ready")
            served = await engine.submit(_work(engine, 3))

    assert isinstance(lost, EngineFailure | EngineResult)
    assert isinstance(served, EngineResult)


async def test_a_process_that_will_not_come_back_is_told_of(address: str) -> None:
    async with _near_side(address) as engine:
        engine.fail("its weights are damaged")

        with pytest.raises(Unavailable):
            engine.check_open()
        assert engine.state().reason == "its weights are damaged"
