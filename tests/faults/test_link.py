"""The near side of an engine that dies at the worst moment."""

import time
from pathlib import Path

import numpy as np
import zmq

from models import Readout
from server.engine.admission import Admission
from server.engine.messages import (
    CancelRequest,
    EngineReport,
    EngineRequest,
    EngineResult,
    EngineState,
    Subscribe,
    Timings,
    decode,
    encode,
)
from server.engine.zmq_transport import ZmqEngineClient
from tests.support.server.in_process import until

READY = EngineReport(EngineState("ready"), {})


class _Engine:
    """The far side, as far as the near side can tell."""

    def __init__(self, address: str) -> None:
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 1000)
        self.socket.bind(address)

    def hear(self) -> tuple[bytes, object]:
        """The next message, within some seconds."""
        assert self.socket.poll(5000), "nothing was sent"
        client, *frames = self.socket.recv_multipart()
        return client, decode(frames)

    def says_nothing_more(self) -> bool:
        """Whether nothing else was sent to it."""
        return not self.socket.poll(200)


def _address(folder: Path) -> str:
    return f"ipc://{folder}/engine"


def _work(near: ZmqEngineClient) -> EngineRequest:
    return EngineRequest(near.new_id(), "m", Readout("vector"), [np.array([1, 2], np.int32)], np.zeros(1, np.int32))


async def _connected(near: ZmqEngineClient, address: str) -> tuple[_Engine, bytes]:
    far = _Engine(address)
    await until(lambda: far.socket.poll(0))
    client, hello = far.hear()
    assert isinstance(hello, Subscribe)
    far.socket.send_multipart([client, *encode(READY)])
    await until(lambda: near.state().phase == "ready")
    return far, client


async def test_what_an_engine_said_before_it_died_is_not_believed_afterwards(tmp_path: Path) -> None:
    async with ZmqEngineClient(_address(tmp_path), Admission(100, 100, 10)) as near:
        far, client = await _connected(near, _address(tmp_path))

        # All of it happens before the loop hears of any of it.
        far.socket.send_multipart([client, *encode(READY)])
        far.socket.close()
        time.sleep(0.3)  # noqa: ASYNC251
        await until(lambda: near.state().phase == "loading")
        again = _Engine(_address(tmp_path))
        await until(lambda: again.socket.poll(0))

        assert near.state().phase == "loading"
        again.socket.close()


async def test_work_for_an_engine_that_died_is_answered_and_not_kept_for_the_next(tmp_path: Path) -> None:
    async with ZmqEngineClient(_address(tmp_path), Admission(100, 100, 10)) as near:
        far, _ = await _connected(near, _address(tmp_path))

        far.socket.close()
        time.sleep(0.3)  # noqa: ASYNC251
        future = near.submit(_work(near))
        answer = await future
        again = _Engine(_address(tmp_path))
        await until(lambda: again.socket.poll(0))
        _, first = again.hear()

        assert answer.reason == "unavailable"
        assert isinstance(first, Subscribe)
        assert again.says_nothing_more()
        assert (near.state().waiting_items, near.state().waiting_tokens) == (0, 0)
        again.socket.close()


async def test_an_answer_after_cancel_is_nobodys(tmp_path: Path) -> None:
    async with ZmqEngineClient(_address(tmp_path), Admission(100, 100, 10)) as near:
        far, client = await _connected(near, _address(tmp_path))
        work = _work(near)

        future = near.submit(work)
        near.cancel(work.id)
        await until(lambda: far.socket.poll(0))
        heard = [far.hear()[1], far.hear()[1]]
        far.socket.send_multipart(
            [client, *encode(EngineResult(work.id, np.zeros((1, 2), np.float32), Timings(0, 0, 1)))]
        )
        kept = near.submit(_work(near))
        far.socket.send_multipart(
            [client, *encode(EngineResult(work.id + 1, np.ones((1, 2), np.float32), Timings(0, 0, 1)))]
        )
        answer = await kept

        assert future.cancelled()
        assert [type(message) for message in heard] == [EngineRequest, CancelRequest]
        assert answer.rows.tolist() == [[1, 1]]
        far.socket.close()
