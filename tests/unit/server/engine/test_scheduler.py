"""One device's queue, one step at a time, over a backend without a model."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from models import DeviceLost, Item, NonFinite, OutOfMemory, Readout, Row
from models.backends.fake import FakeBackend
from server.engine.batching import BatchLimits
from server.engine.cost_model import FIRST_LIMIT_S
from server.engine.messages import BatchStats, EngineFailure, EngineRequest, EngineResult, QueueStats
from server.engine.scheduler import Answer, Scheduler
from server.engine.status_page import StatusPage, StatusReader, status_memory
from tests.support.operations import operations

FIRST, SECOND, THIRD = (b"", 1), (b"", 2), (b"", 3)


def _request(*lists: list[int], request_id: int = 1) -> EngineRequest:
    ids = [np.array(tokens, dtype=np.int32) for tokens in lists]
    return EngineRequest(request_id, "m", Readout("vector"), ids, np.zeros(len(ids), dtype=np.int32))


def _scheduler(backend: FakeBackend, *, max_tokens: int = 100, max_items: int = 10) -> Scheduler:
    return Scheduler({"m": backend}, BatchLimits(max_tokens, max_items))


def _finish(scheduler: Scheduler) -> list[Answer]:
    answers: list[Answer] = []
    while scheduler.wait_s() is not None:
        answers += scheduler.step()
    return answers


class _Fault:
    """Raises an error for every batch that holds one of the token ids."""

    def __init__(self, error: Exception, *ids: int) -> None:
        self._error = error
        self._ids = ids

    def __call__(self, items: Sequence[Item]) -> None:
        if {int(token) for item in items for token in item.ids} & set(self._ids):
            raise self._error


def test_a_request_gets_its_rows_in_its_order() -> None:
    backend = FakeBackend()
    scheduler = _scheduler(backend)

    scheduler.add(FIRST, _request([1], [2, 3], [1]))
    [(key, answer)] = _finish(scheduler)

    assert key == FIRST
    assert isinstance(answer, EngineResult)
    assert answer.rows.shape == (3, backend.width)
    assert answer.rows.dtype == np.float32
    assert np.array_equal(answer.rows[0], answer.rows[2])
    assert backend.batches == [(1, 2, 1)]


def test_requests_that_wait_together_run_together() -> None:
    backend = FakeBackend()
    scheduler = _scheduler(backend)

    scheduler.add(FIRST, _request([1], request_id=1))
    scheduler.add(SECOND, _request([2], request_id=2))
    answers = dict(_finish(scheduler))

    assert len(backend.batches) == 1
    assert {key: answer.id for key, answer in answers.items()} == {FIRST: 1, SECOND: 2}


def test_a_request_over_the_limit_is_answered_once_after_several_batches() -> None:
    backend = FakeBackend()
    scheduler = _scheduler(backend, max_tokens=4)

    scheduler.add(FIRST, _request(*([n, n] for n in range(5))))
    [(_, answer)] = _finish(scheduler)

    assert backend.batches == [(2, 2), (2, 2), (2,)]
    assert answer.rows.shape == (5, backend.width)
    assert answer.timings.batches == 3


def test_a_failed_batch_does_not_stop_the_scheduler() -> None:
    backend = FakeBackend(fault=_Fault(RuntimeError("boom"), 666))
    scheduler = _scheduler(backend)

    scheduler.add(FIRST, _request([666]))
    failed = _finish(scheduler)
    scheduler.add(SECOND, _request([1], request_id=2))
    [(_, answer)] = _finish(scheduler)

    assert failed == [(FIRST, EngineFailure(1, "internal", 0))]
    assert isinstance(answer, EngineResult)


def test_an_error_fails_only_the_request_that_causes_it(caplog: pytest.LogCaptureFixture) -> None:
    backend = FakeBackend(fault=_Fault(RuntimeError("boom"), 666))
    scheduler = _scheduler(backend)

    for number in range(9):
        scheduler.add((b"", number), _request([number + 1], request_id=number))
    scheduler.add((b"", 9), _request([1], [666], request_id=9))
    answers = dict(_finish(scheduler))

    assert answers.pop((b"", 9)) == EngineFailure(9, "internal", 1)
    assert [type(answer) for answer in answers.values()] == [EngineResult] * 9
    assert caplog.text.count("Traceback") == 1


def test_a_fault_in_launch_is_a_fault_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = FakeBackend()
    monkeypatch.setattr(FakeBackend, "launch", lambda self, items: 1 / 0)
    scheduler = _scheduler(backend)

    scheduler.add(FIRST, _request([1]))

    assert _finish(scheduler) == [(FIRST, EngineFailure(1, "internal", 0))]


def test_out_of_memory_halves_the_batch_until_it_fits() -> None:
    def too_many(items: Sequence[Item]) -> None:
        if len(items) > 2:
            raise OutOfMemory

    backend = FakeBackend(fault=too_many)
    scheduler = _scheduler(backend)

    scheduler.add(FIRST, _request([1], [2], [3], [4], [5]))
    [(_, answer)] = _finish(scheduler)

    assert isinstance(answer, EngineResult)
    assert np.array_equal(answer.rows, np.stack([_row(backend, token) for token in range(1, 6)]))


def test_out_of_memory_fails_only_the_request_that_does_not_fit() -> None:
    backend = FakeBackend(fault=_Fault(OutOfMemory(), 666))
    scheduler = _scheduler(backend)

    scheduler.add(FIRST, _request([1], [2]))
    scheduler.add(SECOND, _request([3], [666], request_id=2))
    scheduler.add(THIRD, _request([4], request_id=3))
    answers = dict(_finish(scheduler))

    assert answers[SECOND] == EngineFailure(2, "out_of_memory", 1)
    assert isinstance(answers[FIRST], EngineResult)
    assert isinstance(answers[THIRD], EngineResult)


def test_after_out_of_memory_batches_are_smaller() -> None:
    fault = _Fault(OutOfMemory(), 666)
    backend = FakeBackend(fault=fault)
    scheduler = _scheduler(backend, max_tokens=8)
    scheduler.add(FIRST, _request([666], [1], [1], [1]))
    _finish(scheduler)
    backend.batches.clear()

    scheduler.add(SECOND, _request(*[[1]] * 8))
    _finish(scheduler)

    assert max(map(len, backend.batches)) < 8


def test_a_row_that_is_not_finite_fails_only_its_request() -> None:
    def bad(items: Sequence[Item]) -> None:
        raise NonFinite((1,), [_row(backend, int(item.ids[0])) for item in items])

    backend = FakeBackend(fault=bad)
    scheduler = _scheduler(backend)

    scheduler.add(FIRST, _request([1], request_id=1))
    scheduler.add(SECOND, _request([2], request_id=2))
    scheduler.add(THIRD, _request([3], request_id=3))
    answers = [answer for _, answer in _finish(scheduler)]

    assert [type(answer) for answer in answers] == [EngineResult, EngineFailure, EngineResult]
    assert (answers[1].reason, answers[1].index) == ("non_finite", 0)


def test_a_lost_device_is_raised_to_the_owner() -> None:
    backend = FakeBackend(fault=_Fault(DeviceLost("gone"), 1))
    scheduler = _scheduler(backend)
    scheduler.add(FIRST, _request([1]))

    with pytest.raises(DeviceLost):
        _finish(scheduler)


def test_a_request_that_is_dropped_while_it_waits_never_runs() -> None:
    backend = FakeBackend()
    scheduler = _scheduler(backend)

    scheduler.add(FIRST, _request([1]))
    scheduler.add(SECOND, _request([2, 2], request_id=2))
    scheduler.drop(FIRST)
    answers = _finish(scheduler)

    assert [key for key, _ in answers] == [SECOND]
    assert backend.batches == [(2,)]


def test_a_request_that_is_dropped_while_it_runs_is_not_answered() -> None:
    backend = FakeBackend()
    scheduler = _scheduler(backend, max_tokens=1)
    backend.gate.clear()

    scheduler.add(FIRST, _request([1], [2]))
    scheduler.step()
    scheduler.drop(FIRST)
    backend.gate.set()

    assert _finish(scheduler) == []
    assert backend.batches == [(1,)]


def test_a_key_that_is_used_again_gets_no_rows_of_the_old_request() -> None:
    backend = FakeBackend()
    scheduler = _scheduler(backend)
    backend.gate.clear()

    scheduler.add(FIRST, _request([1]))
    scheduler.step()
    scheduler.drop(FIRST)
    scheduler.add(FIRST, _request([2], request_id=2))
    backend.gate.set()
    [(_, answer)] = _finish(scheduler)

    assert answer.id == 2
    assert np.array_equal(answer.rows[0], _row(backend, 2))


def test_a_scheduler_with_nothing_to_do_waits_without_limit() -> None:
    assert _scheduler(FakeBackend()).wait_s() is None


def test_state_counts_the_items_that_have_not_been_launched() -> None:
    backend = FakeBackend()
    scheduler = _scheduler(backend, max_tokens=3)
    backend.gate.clear()

    scheduler.add(FIRST, _request([1, 1], [2, 2], [3, 3]))
    before = scheduler.state()
    scheduler.step()
    after = scheduler.state()

    assert before.queue("m") == QueueStats(3, 6, 0)
    assert (after.waiting_items, after.waiting_tokens) == (2, 4)


def test_launched_tokens_are_told_once_and_of_requests_that_still_wait() -> None:
    scheduler = _scheduler(FakeBackend(), max_tokens=3)
    scheduler.add(FIRST, _request([1], [2, 2], [3, 3]))
    told = []

    while scheduler.wait_s() is not None:
        scheduler.step()
        told.append(scheduler.launched_tokens())

    assert [tokens for tokens in told if tokens] == [{FIRST: 3}]


@pytest.mark.parametrize("step", ["add", "drop", "state", "launched_tokens", "step"])
def test_no_step_costs_more_while_many_requests_wait(step: str) -> None:
    def cost(waiting: int) -> int:
        scheduler = Scheduler({"m": FakeBackend()}, BatchLimits(1000, 8))
        for number in range(waiting):
            scheduler.add((b"", number), _request([1] * (1 + number % 50), request_id=number))
        last = (b"", waiting - 1)
        steps = {
            "add": lambda: scheduler.add((b"", waiting), _request([1], request_id=waiting)),
            "drop": lambda: scheduler.drop(last),
            "state": scheduler.state,
            "launched_tokens": scheduler.launched_tokens,
            "step": scheduler.step,
        }
        return operations(steps[step])

    few, many = cost(500), cost(5000)

    assert many < 1.3 * few


def test_others_see_what_is_in_flight_and_when_it_hangs() -> None:
    memory = status_memory()
    page = StatusPage(memory)
    reader = StatusReader(memory)
    scheduler = Scheduler({"m": FakeBackend()}, BatchLimits(1, 1), page=page)

    scheduler.add((b"client", 1), _request([1], request_id=1))
    scheduler.add((b"client", 2), _request([2], request_id=2))
    before = reader.in_flight(b"client")
    scheduler.step()
    meanwhile = reader.in_flight(b"client")
    reader.check(0.0)
    hung = [reader.check(now / 2) for now in range(1, 2 * int(FIRST_LIMIT_S) + 2)]
    _finish(scheduler)

    assert (before, meanwhile, reader.in_flight(b"client")) == (set(), {1}, set())
    assert reader.in_flight(b"other") == set()
    assert (hung[0], hung[-1]) == ("", "a batch has been running for 600.5 s, over its limit of 600.0 s")
    assert reader.check(1000) == ""
    assert reader.completed == 2


def test_a_request_that_is_to_run_alone_shares_no_batch() -> None:
    memory = status_memory()
    backend, page = FakeBackend(), StatusPage(memory)
    scheduler = Scheduler({"m": backend}, BatchLimits(100, 100), page=page)
    reader = StatusReader(memory)

    scheduler.add(FIRST, _request([1]))
    scheduler.add(SECOND, replace(_request([1, 2], [3, 4], request_id=2), alone=True))
    scheduler.add(THIRD, _request([1], request_id=3))
    alone = []
    while scheduler.wait_s() is not None:
        scheduler.step()
        alone.append(reader.alone)

    assert sorted(backend.batches) == [(1, 1), (2, 2)]
    assert sum(alone) == 1


def test_a_request_waits_from_the_time_at_which_it_was_sent() -> None:
    # While a CPU computes a batch, its engine receives nothing.
    backend, now = FakeBackend(), 0.0
    scheduler = Scheduler({"m": backend}, BatchLimits(10, 1), clock=lambda: now)
    scheduler.add(FIRST, _request(*[[1] * 10] * 3))
    scheduler.step()
    now = 10.0
    scheduler.step()

    scheduler.add(SECOND, replace(_request([2, 2], request_id=2), sent_at=1.0))
    scheduler.add(THIRD, replace(_request([3, 3, 3], request_id=3), sent_at=99.0))
    answers = dict(_finish(scheduler))

    assert backend.batches[:2] == [(10,), (2,)]
    second, third = answers[SECOND], answers[THIRD]
    assert isinstance(second, EngineResult)
    assert isinstance(third, EngineResult)
    assert (second.timings.queue_s, third.timings.queue_s) == (9.0, 0.0)


def test_the_figures_of_each_batch_are_recorded() -> None:
    batches: list[BatchStats] = []
    scheduler = Scheduler({"m": FakeBackend()}, BatchLimits(10, 10), batches.append)

    scheduler.add(FIRST, _request([1, 1, 1], [2, 2]))
    _finish(scheduler)

    assert [(stats.model, stats.items, stats.tokens, stats.fill) for stats in batches] == [("m", 2, 5, 0.5)]


def _row(backend: FakeBackend, token: int) -> Row:
    plain = FakeBackend(backend.width)
    return plain.launch([Item(np.array([token], dtype=np.int32), Readout("vector"))]).rows()[0]


def test_each_model_has_its_own_speed() -> None:
    now = [0.0]
    scheduler = Scheduler({"m": FakeBackend(), "n": FakeBackend()}, BatchLimits(10, 10), clock=lambda: now[0])
    scheduler.add(FIRST, _request([1] * 8, [1] * 4))
    scheduler.step()
    now[0] = 4.0

    scheduler.step()

    assert scheduler.state().queue("m").tokens_per_s == pytest.approx(2)
    assert scheduler.state().queue("n").tokens_per_s == 0


def test_a_batch_that_leaves_nothing_waiting_is_not_full() -> None:
    now = [0.0]
    scheduler = Scheduler({"m": FakeBackend()}, BatchLimits(10, 10), clock=lambda: now[0])
    scheduler.add(FIRST, _request([1, 1]))
    scheduler.step()
    now[0] = 4.0

    scheduler.step()

    assert scheduler.state().queue("m").tokens_per_s == 0


def test_batches_are_short_while_another_caller_may_come() -> None:
    now = 0.0
    backend = FakeBackend(fault=lambda items: advance(0.01 * sum(len(item.ids) for item in items)))
    scheduler = Scheduler({"m": backend}, BatchLimits(100, 100), clock=lambda: now)

    def advance(seconds: float) -> None:
        nonlocal now
        now += seconds

    scheduler.add(FIRST, replace(_request([1, 2]), caller="light"))
    _finish(scheduler)
    scheduler.add(SECOND, replace(_request(*[[1, 2]] * 100), caller="crowd"))
    _finish(scheduler)
    beside = backend.batches[1:]
    advance(2)
    scheduler.add(THIRD, replace(_request(*[[1, 2]] * 100), caller="crowd"))
    _finish(scheduler)

    assert {len(batch) for batch in beside[:10]} <= {4, 5}
    assert [len(batch) for batch in backend.batches[-2:]] == [50, 50]
