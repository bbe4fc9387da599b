"""Requests that have no answer yet."""

import asyncio

import numpy as np
import pytest

from models import Readout
from server.engine.admission import QueueView
from server.engine.client import EngineClient, PendingRequests
from server.engine.messages import EngineFailure, EngineRequest, EngineResult, QueueStats, Timings


@pytest.fixture
def queues() -> QueueView:
    """The queues that count the pending requests."""
    return QueueView()


@pytest.fixture
def pending(queues: QueueView) -> PendingRequests:
    """No request yet."""
    return PendingRequests(queues)


def _request(request_id: int, *lengths: int) -> EngineRequest:
    ids = [np.zeros(length, dtype=np.int32) for length in lengths]
    return EngineRequest(request_id, "m", Readout("vector"), ids, np.zeros(len(ids), dtype=np.int32))


def _result(request_id: int) -> EngineResult:
    return EngineResult(request_id, np.zeros((1, 1), dtype=np.float32), Timings(0, 0, 1))


async def test_an_answer_resolves_the_future_of_its_request(pending: PendingRequests) -> None:
    first, second = pending.add(_request(1, 3)), pending.add(_request(2, 4))

    pending.answer(_result(2))

    assert (await second).id == 2
    assert not first.done()


async def test_pending_requests_are_counted(pending: PendingRequests, queues: QueueView) -> None:
    pending.add(_request(1, 3, 4))
    pending.add(_request(2, 5))

    pending.answer(_result(1))

    assert queues.queue("m") == QueueStats(1, 5, requests=1)


async def test_what_was_launched_of_a_request_no_longer_waits(pending: PendingRequests, queues: QueueView) -> None:
    pending.add(_request(1, 30, 40))
    pending.add(_request(2, 5))

    pending.note_progress([(1, 30), (3, 9)])
    begun = queues.queue("m")
    pending.note_progress([(1, 60)])
    pending.answer(_result(1))

    assert begun == QueueStats(3, 45, requests=2)
    assert queues.queue("m") == QueueStats(1, 5, requests=1)


async def test_an_answer_to_a_removed_request_is_dropped(pending: PendingRequests, queues: QueueView) -> None:
    pending.add(_request(1, 3))
    pending.remove(1)

    pending.answer(_result(1))

    assert queues.queue("m") == QueueStats()
    assert pending.remove(1) is None


async def test_when_the_engine_is_gone_every_request_is_answered(pending: PendingRequests, queues: QueueView) -> None:
    futures = [pending.add(_request(number, 1)) for number in (1, 2)]

    pending.fail_all()

    assert await asyncio.gather(*futures) == [EngineFailure(1, "unavailable"), EngineFailure(2, "unavailable")]
    assert queues.queue("m") == QueueStats()


async def test_no_id_comes_twice(pending: PendingRequests) -> None:
    assert len({pending.new_id() for _ in range(100)}) == 100


def test_a_client_must_say_how_it_sends() -> None:
    assert EngineClient.__abstractmethods__ == {"_send"}
