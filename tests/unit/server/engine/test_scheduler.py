"""One device's queue, one step at a time, over a backend without a model."""

from collections.abc import Sequence

import numpy as np
import pytest

from models import DeviceLost, Item, NonFinite, OutOfMemory, Readout, Row
from models.backends.fake import FakeBackend
from server.engine.batching import BatchLimits
from server.engine.messages import BatchStats, EngineFailure, EngineRequest, EngineResult, QueueStats
from server.engine.scheduler import Answer, Scheduler

FIRST, SECOND, THIRD = (b"", 1), (b"", 2), (b"", 3)


def _work(*lists: list[int], work_id: int = 1) -> EngineRequest:
    ids = [np.array(one, dtype=np.int32) for one in lists]
    return EngineRequest(work_id, "m", Readout("vector"), ids, np.zeros(len(ids), dtype=np.int32))


def _worker(backend: FakeBackend, *, max_tokens: int = 100, max_items: int = 10) -> Scheduler:
    return Scheduler({"m": backend}, BatchLimits(max_tokens, max_items))


def _finish(worker: Scheduler) -> list[Answer]:
    answers: list[Answer] = []
    while worker.wait_s() is not None:
        answers += worker.step()
    return answers


class _Fault:
    """Raises for every batch that holds one of some ids."""

    def __init__(self, error: Exception, *ids: int) -> None:
        self._error = error
        self._ids = ids

    def __call__(self, items: Sequence[Item]) -> None:
        if {int(token) for item in items for token in item.ids} & set(self._ids):
            raise self._error


def test_a_request_gets_its_rows_in_its_order() -> None:
    backend = FakeBackend()
    worker = _worker(backend)

    worker.add(FIRST, _work([1], [2, 3], [1]))
    [(key, answer)] = _finish(worker)

    assert key == FIRST
    assert isinstance(answer, EngineResult)
    assert answer.rows.shape == (3, backend.width)
    assert answer.rows.dtype == np.float32
    assert np.array_equal(answer.rows[0], answer.rows[2])
    assert backend.batches == [(1, 2, 1)]


def test_requests_that_wait_together_run_together() -> None:
    backend = FakeBackend()
    worker = _worker(backend)

    worker.add(FIRST, _work([1], work_id=1))
    worker.add(SECOND, _work([2], work_id=2))
    answers = dict(_finish(worker))

    assert len(backend.batches) == 1
    assert {key: answer.id for key, answer in answers.items()} == {FIRST: 1, SECOND: 2}


def test_a_request_over_the_budget_is_answered_once_after_several_batches() -> None:
    backend = FakeBackend()
    worker = _worker(backend, max_tokens=4)

    worker.add(FIRST, _work(*([n, n] for n in range(5))))
    [(_, answer)] = _finish(worker)

    assert backend.batches == [(2, 2), (2, 2), (2,)]
    assert answer.rows.shape == (5, backend.width)
    assert answer.timings.batches == 3


def test_a_failed_batch_does_not_stop_the_worker() -> None:
    backend = FakeBackend(fault=_Fault(RuntimeError("boom"), 666))
    worker = _worker(backend)

    worker.add(FIRST, _work([666]))
    failed = _finish(worker)
    worker.add(SECOND, _work([1], work_id=2))
    [(_, answer)] = _finish(worker)

    assert failed == [(FIRST, EngineFailure(1, "internal", 0))]
    assert isinstance(answer, EngineResult)


def test_a_fault_in_launch_is_a_fault_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend()
    monkeypatch.setattr(FakeBackend, "launch", lambda self, items: 1 / 0)
    worker = _worker(backend)

    worker.add(FIRST, _work([1]))

    assert _finish(worker) == [(FIRST, EngineFailure(1, "internal", 0))]


def test_out_of_memory_halves_the_batch_until_it_fits() -> None:
    def too_many(items: Sequence[Item]) -> None:
        if len(items) > 2:
            raise OutOfMemory

    backend = FakeBackend(fault=too_many)
    worker = _worker(backend)

    worker.add(FIRST, _work([1], [2], [3], [4], [5]))
    [(_, answer)] = _finish(worker)

    assert isinstance(answer, EngineResult)
    assert np.array_equal(answer.rows, np.stack([_row(backend, token) for token in range(1, 6)]))


def test_out_of_memory_fails_the_guilty_request_alone() -> None:
    backend = FakeBackend(fault=_Fault(OutOfMemory(), 666))
    worker = _worker(backend)

    worker.add(FIRST, _work([1], [2]))
    worker.add(SECOND, _work([3], [666], work_id=2))
    worker.add(THIRD, _work([4], work_id=3))
    answers = dict(_finish(worker))

    assert answers[SECOND] == EngineFailure(2, "out_of_memory", 1)
    assert isinstance(answers[FIRST], EngineResult)
    assert isinstance(answers[THIRD], EngineResult)


def test_after_out_of_memory_batches_are_smaller() -> None:
    fault = _Fault(OutOfMemory(), 666)
    backend = FakeBackend(fault=fault)
    worker = _worker(backend, max_tokens=8)
    worker.add(FIRST, _work([666], [1], [1], [1]))
    _finish(worker)
    backend.batches.clear()

    worker.add(SECOND, _work(*[[1]] * 8))
    _finish(worker)

    assert max(map(len, backend.batches)) < 8


def test_a_row_that_is_not_finite_fails_its_request_alone() -> None:
    def bad(items: Sequence[Item]) -> None:
        raise NonFinite((1,), [_row(backend, int(item.ids[0])) for item in items])

    backend = FakeBackend(fault=bad)
    worker = _worker(backend)

    worker.add(FIRST, _work([1], work_id=1))
    worker.add(SECOND, _work([2], work_id=2))
    worker.add(THIRD, _work([3], work_id=3))
    answers = [answer for _, answer in _finish(worker)]

    assert [type(answer) for answer in answers] == [EngineResult, EngineFailure, EngineResult]
    assert (answers[1].reason, answers[1].index) == ("non_finite", 0)


def test_a_lost_device_is_for_the_owner() -> None:
    backend = FakeBackend(fault=_Fault(DeviceLost("gone"), 1))
    worker = _worker(backend)
    worker.add(FIRST, _work([1]))

    with pytest.raises(DeviceLost):
        _finish(worker)


def test_what_is_dropped_while_it_waits_never_runs() -> None:
    backend = FakeBackend()
    worker = _worker(backend)

    worker.add(FIRST, _work([1]))
    worker.add(SECOND, _work([2, 2], work_id=2))
    worker.drop(FIRST)
    answers = _finish(worker)

    assert [key for key, _ in answers] == [SECOND]
    assert backend.batches == [(2,)]


def test_what_is_dropped_while_it_runs_is_not_answered() -> None:
    backend = FakeBackend()
    worker = _worker(backend, max_tokens=1)
    backend.gate.clear()

    worker.add(FIRST, _work([1], [2]))
    worker.step()
    worker.drop(FIRST)
    backend.gate.set()

    assert _finish(worker) == []
    assert backend.batches == [(1,)]


def test_a_key_that_came_again_gets_no_rows_of_the_old_request() -> None:
    backend = FakeBackend()
    worker = _worker(backend)
    backend.gate.clear()

    worker.add(FIRST, _work([1]))
    worker.step()
    worker.drop(FIRST)
    worker.add(FIRST, _work([2], work_id=2))
    backend.gate.set()
    [(_, answer)] = _finish(worker)

    assert answer.id == 2
    assert np.array_equal(answer.rows[0], _row(backend, 2))


def test_a_worker_with_nothing_to_do_waits_for_ever() -> None:
    assert _worker(FakeBackend()).wait_s() is None


def test_state_counts_what_has_not_been_launched() -> None:
    backend = FakeBackend()
    worker = _worker(backend, max_tokens=3)
    backend.gate.clear()

    worker.add(FIRST, _work([1, 1], [2, 2], [3, 3]))
    before = worker.state()
    worker.step()
    after = worker.state()

    assert before.queue("m") == QueueStats(3, 6, 0)
    assert (after.waiting_items, after.waiting_tokens) == (2, 4)


def test_a_worker_tells_for_how_long_a_batch_has_been_running() -> None:
    now = [10.0]
    worker = Scheduler({"m": FakeBackend()}, BatchLimits(10, 10), clock=lambda: now[0])

    before = worker.batch_s()
    worker.add(FIRST, _work([1]))
    worker.step()
    now[0] = 13.0
    meanwhile = worker.batch_s()
    _finish(worker)

    assert (before, meanwhile, worker.batch_s()) == (0, 3, 0)


def test_each_batch_is_noted() -> None:
    notes: list[BatchStats] = []
    worker = Scheduler({"m": FakeBackend()}, BatchLimits(10, 10), notes.append)

    worker.add(FIRST, _work([1, 1, 1], [2, 2]))
    _finish(worker)

    assert [(note.model, note.items, note.tokens, note.fill) for note in notes] == [("m", 2, 5, 0.5)]


def _row(backend: FakeBackend, token: int) -> Row:
    plain = FakeBackend(backend.width)
    return plain.launch([Item(np.array([token], dtype=np.int32), Readout("vector"))]).rows()[0]


def test_the_speed_of_one_model_says_nothing_of_another() -> None:
    now = [0.0]
    worker = Scheduler({"m": FakeBackend(), "n": FakeBackend()}, BatchLimits(10, 10), clock=lambda: now[0])
    worker.add(FIRST, _work([1] * 8, [1] * 4))
    worker.step()
    now[0] = 4.0

    worker.step()

    assert worker.state().queue("m").tokens_per_s == pytest.approx(2)
    assert worker.state().queue("n").tokens_per_s == 0


def test_a_batch_that_leaves_nothing_waiting_is_not_full() -> None:
    now = [0.0]
    worker = Scheduler({"m": FakeBackend()}, BatchLimits(10, 10), clock=lambda: now[0])
    worker.add(FIRST, _work([1, 1]))
    worker.step()
    now[0] = 4.0

    worker.step()

    assert worker.state().queue("m").tokens_per_s == 0
