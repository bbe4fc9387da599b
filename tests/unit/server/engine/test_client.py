"""Requests that wait for their answers."""

import asyncio

import numpy as np

from models import Readout
from server.engine.client import PendingRequests
from server.engine.messages import EngineFailure, EngineRequest, EngineResult, Timings


def _work(work_id: int, *lengths: int) -> EngineRequest:
    ids = [np.zeros(length, dtype=np.int32) for length in lengths]
    return EngineRequest(work_id, "m", Readout("vector"), ids, np.zeros(len(ids), dtype=np.int32))


def _done(work_id: int) -> EngineResult:
    return EngineResult(work_id, np.zeros((1, 1), dtype=np.float32), Timings(0, 0, 1))


async def test_an_answer_reaches_who_waits_for_it() -> None:
    waiting = PendingRequests()
    first, second = waiting.add(_work(1, 3)), waiting.add(_work(2, 4))

    waiting.answer(_done(2))

    assert (await second).id == 2
    assert not first.done()


async def test_what_waits_is_counted() -> None:
    waiting = PendingRequests()
    waiting.add(_work(1, 3, 4))
    waiting.add(_work(2, 5))

    waiting.answer(_done(1))

    assert waiting.waiting == {"m": (1, 5)}


async def test_an_answer_that_nobody_waits_for_is_no_fault() -> None:
    waiting = PendingRequests()
    waiting.add(_work(1, 3))
    waiting.remove(1)

    waiting.answer(_done(1))

    assert not any(map(any, waiting.waiting.values()))
    assert waiting.remove(1) is None


async def test_when_the_engine_is_gone_everybody_is_told() -> None:
    waiting = PendingRequests()
    futures = [waiting.add(_work(number, 1)) for number in (1, 2)]

    waiting.fail_all()

    assert await asyncio.gather(*futures) == [EngineFailure(1, "unavailable"), EngineFailure(2, "unavailable")]
    assert waiting.waiting == {"m": (0, 0)}


async def test_no_id_comes_twice() -> None:
    waiting = PendingRequests()

    assert len({waiting.new_id() for _ in range(100)}) == 100
