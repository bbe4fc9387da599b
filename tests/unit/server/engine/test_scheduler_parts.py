"""A text that is longer than a batch runs in parts, and others have their turn between them."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import Item, NonFinite, OutOfMemory, Readout, pass_work
from models.backends.fake import FakeBackend
from server.engine.batching import MAX_SPLIT_TEXTS, BatchItem, BatchLimits, Job, JobQueue, take_batch
from server.engine.messages import BatchStats, EngineFailure, EngineRequest, EngineResult
from server.engine.scheduler import Answer, Scheduler
from server.engine.status_page import StatusPage, StatusReader, status_memory

LONG, QUERY = (b"client", 1), (b"client", 2)
A, B = (b"", 1), (b"", 2)
SECONDS_PER_TOKEN = 0.01
LIMITS = BatchLimits(100, 10, chunk_tokens=64)


def _request(*lengths: int, request_id: int = 1) -> EngineRequest:
    ids = [np.full(length, number + 1, dtype=np.int32) for number, length in enumerate(lengths)]
    return EngineRequest(request_id, "m", Readout("vector"), ids, np.zeros(len(ids), dtype=np.int32))


def _finish(scheduler: Scheduler) -> list[Answer]:
    answers: list[Answer] = []
    while scheduler.wait_s() is not None:
        answers += scheduler.step()
    return answers


def _rows(request: EngineRequest) -> list[list[float]]:
    return [row.tolist() for row in FakeBackend().launch([Item(ids, request.readout) for ids in request.ids]).rows()]


def _job(number: int, lengths: list[int], arrived: float = 0.0) -> Job:
    return Job((b"", number), "m", lengths, [0] * len(lengths), arrived, longest_whole=LIMITS.max_tokens)


def _take(*jobs: Job, limits: BatchLimits = LIMITS, now: float = 1) -> list[BatchItem]:
    return take_batch(JobQueue(jobs), limits, now, defaultdict(lambda: SECONDS_PER_TOKEN))


@settings(max_examples=50, deadline=None)
@given(st.integers(101, 10_000), st.integers(64, 1024))
def test_the_parts_of_a_text_add_up_to_it(length: int, chunk_tokens: int) -> None:
    job, parts = _job(1, [length]), []

    while job.waiting:
        [item] = _take(job, limits=BatchLimits(4096, 10, chunk_tokens))
        assert item.part is not None
        parts.append(item.part)

    assert sum(part.tokens for part in parts) == length
    assert abs(sum(part.work for part in parts) - pass_work(0, length)) < 1
    assert parts[-1].until == 1
    assert all(abs(part.work - chunk_tokens) < 1 for part in parts[:-1])
    assert parts[-1].work < 1.51 * chunk_tokens
    assert job.waiting_tokens == 0


def test_a_text_of_the_limit_is_no_long_one() -> None:
    assert _take(_job(1, [100])) == [BatchItem(A, 0)]


def test_a_part_is_a_batch_of_its_own_and_so_is_what_stands_beside_it() -> None:
    job = _job(1, [10, 20, 300, 30, 40])

    batches = []
    while job.waiting:
        batches.append([(item.index, item.part is not None) for item in _take(job)])

    assert batches[0] == [(0, False), (1, False)]
    assert set(map(tuple, batches[1:-1])) == {((2, True),)}
    assert batches[-1] == [(3, False), (4, False)]


def test_a_query_passes_a_text_that_has_begun() -> None:
    long, query = _job(1, [5000], arrived=0), _job(2, [8], arrived=60)

    before, between, after = _take(long, query, now=60), _take(long, query, now=61), _take(long, query, now=62)

    assert [item.key for item in (*before, *between, *after)] == [A, B, A]


def test_the_time_for_a_long_text_counts_its_attention() -> None:
    # 2000 tokens of short texts against one text of 2000: the same number, but less work.
    short, long = _job(1, [50] * 40), _job(2, [2000])

    assert _take(short, long, now=30)[0].key == A


def test_parts_are_small_while_batches_are() -> None:
    works = []
    for max_tokens in (40, 1):
        [item] = _take(_job(1, [5000]), limits=BatchLimits(max_tokens, 10, 64))
        assert item.part is not None
        works.append(round(item.part.work))

    assert works == [40, 8]


def test_few_texts_are_in_parts_at_once_and_short_ones_run_all_the_while() -> None:
    begun = [_job(number, [5000]) for number in range(MAX_SPLIT_TEXTS)]
    for job in begun:
        _take(job)
    late, query = _job(98, [5000], arrived=-1e6), _job(99, [8], arrived=-1)

    keys = [_take(late, *begun, query, now=now)[0].key[1] for now in (1, 2)]
    while begun[0].waiting:
        _take(begun[0])
    follows = _take(late, *begun, now=3)

    assert keys[0] == 99
    assert keys[1] < MAX_SPLIT_TEXTS
    assert follows[0].key[1] == 98


def test_a_text_that_is_done_or_dropped_makes_room_for_the_next() -> None:
    queue = JobQueue(_job(number, [5000]) for number in range(MAX_SPLIT_TEXTS + 1))
    begun = [
        take_batch(queue, LIMITS, number, defaultdict(lambda: SECONDS_PER_TOKEN))[0].key
        for number in range(MAX_SPLIT_TEXTS)
    ]
    jobs = list(queue.in_turn(0, defaultdict(lambda: SECONDS_PER_TOKEN)))
    for job in jobs[1:MAX_SPLIT_TEXTS]:
        queue.take_part(job, 64)
    late, full = jobs[MAX_SPLIT_TEXTS], []

    full.append(queue.may_run(late))
    queue.take_part(jobs[0], 1_000_000)
    full.append(queue.may_run(late))
    queue.take_part(late, 64)
    queue.add(_job(99, [5000]))
    [*_, last] = queue.in_turn(0, defaultdict(lambda: SECONDS_PER_TOKEN))
    full.append(queue.may_run(last))
    queue.drop(late.key)
    full.append(queue.may_run(last))

    assert begun == [jobs[0].key] * MAX_SPLIT_TEXTS
    assert full == [False, True, False, True]


def test_a_text_in_parts_is_answered_once_among_the_others_of_its_request() -> None:
    backend, request = FakeBackend(splits_texts=True), _request(10, 300, 20)
    scheduler = Scheduler({"m": backend}, LIMITS)

    scheduler.add(LONG, request)
    [(key, answer)] = _finish(scheduler)

    assert key == LONG
    assert isinstance(answer, EngineResult)
    assert answer.rows.tolist() == _rows(request)
    assert backend.batches == [(10,), (300,), (300,), (300,), (300,), (300,), (20,)]
    assert backend.shares == sorted(backend.shares)
    assert answer.timings.batches == 7


@pytest.mark.parametrize(
    ("limits", "splits_texts"), [(BatchLimits(100, 10), True), (LIMITS, False)], ids=["switched off", "cannot"]
)
def test_elsewhere_a_long_text_is_one_batch(limits: BatchLimits, splits_texts: bool) -> None:
    backend = FakeBackend(splits_texts=splits_texts)
    scheduler = Scheduler({"m": backend}, limits)

    scheduler.add(LONG, _request(300))
    _finish(scheduler)

    assert (backend.batches, backend.shares) == ([(300,)], [])


def test_a_query_is_answered_between_two_parts() -> None:
    backend, now = FakeBackend(splits_texts=True), 0.0
    scheduler = Scheduler({"m": backend}, LIMITS, clock=lambda: now)
    scheduler.add(LONG, _request(300))
    scheduler.step()
    scheduler.step()
    now = 1.0

    scheduler.add(QUERY, _request(3, request_id=2))
    now = 2.0

    assert [key for key, _ in _finish(scheduler)] == [QUERY, LONG]
    assert backend.batches[:3] == [(300,), (3,), (300,)]


def test_the_speed_of_the_device_counts_the_work_of_a_part_and_not_its_tokens() -> None:
    now = 0.0

    def advance(items: Sequence[Item]) -> None:
        nonlocal now
        now += 1.0

    backend = FakeBackend(splits_texts=True, fault=advance)
    scheduler = Scheduler({"m": backend}, LIMITS, clock=lambda: now)
    scheduler.add(LONG, _request(3000))

    _finish(scheduler)

    assert scheduler.state().queue("m").tokens_per_s == pytest.approx(64, rel=0.1)


def test_a_query_beside_a_text_in_parts_is_no_full_batch() -> None:
    now = 0.0

    def advance(items: Sequence[Item]) -> None:
        nonlocal now
        now += 1.0

    backend = FakeBackend(splits_texts=True, fault=advance)
    scheduler = Scheduler({"m": backend}, LIMITS, clock=lambda: now)
    scheduler.add(LONG, _request(3000))
    for _ in range(10):
        scheduler.step()
    speed = scheduler.state().queue("m").tokens_per_s

    scheduler.add(QUERY, _request(3, request_id=2))
    while scheduler.step() == []:
        pass

    assert backend.batches.count((3,)) == 1
    assert scheduler.state().queue("m").tokens_per_s == pytest.approx(speed, rel=1e-3)


def test_its_tokens_count_once_and_less_of_them_wait_after_each_part() -> None:
    batches: list[BatchStats] = []
    scheduler = Scheduler({"m": FakeBackend(splits_texts=True)}, LIMITS, batches.append)

    queued, waiting, launched = scheduler.add(LONG, _request(300)), [], []
    while scheduler.wait_s() is not None:
        scheduler.step()
        waiting.append(scheduler.state().waiting_tokens)
        launched += scheduler.launched_tokens().values()

    assert queued == sum(stats.tokens for stats in batches) == 300
    assert waiting == sorted(waiting, reverse=True)
    assert (waiting[0] < 300, waiting[-1]) == (True, 0)
    assert [300 - tokens for tokens in launched] == waiting[:-2:2]


def test_after_a_cancelled_text_nothing_more_of_it_runs_or_is_held() -> None:
    backend = FakeBackend(splits_texts=True)
    scheduler = Scheduler({"m": backend}, LIMITS)
    scheduler.add(LONG, _request(300))
    scheduler.step()

    scheduler.drop(LONG)

    assert _finish(scheduler) == []
    assert backend.batches == [(300,)]
    assert scheduler.state().waiting_tokens == 0


def test_the_request_is_in_flight_only_while_a_part_runs() -> None:
    memory = status_memory()
    scheduler = Scheduler({"m": FakeBackend(splits_texts=True)}, LIMITS, page=StatusPage(memory))
    reader = StatusReader(memory)
    scheduler.add(LONG, _request(300))

    in_flight = []
    for _ in range(4):
        scheduler.step()
        in_flight.append(reader.in_flight(b"client"))

    assert in_flight == [{1}, set(), {1}, set()]


@pytest.mark.parametrize(("chunk_tokens", "limit_s"), [(64, "5.2 s"), (0, "43947.3 s")], ids=["parts", "whole"])
def test_a_part_hangs_long_before_a_whole_text_would(chunk_tokens: int, limit_s: str) -> None:
    now, memory = 0.0, status_memory()
    limits, page = replace(LIMITS, chunk_tokens=chunk_tokens), StatusPage(memory)
    scheduler = Scheduler({"m": FakeBackend(splits_texts=True)}, limits, clock=lambda: now, page=page)
    # One second for a hundred tokens.
    scheduler.add(QUERY, _request(100, request_id=2))
    scheduler.step()
    now = 1.0
    scheduler.step()
    scheduler.add(LONG, _request(30_000))
    scheduler.step()

    reader = StatusReader(memory)
    hung = (reader.check(second / 2) for second in itertools.count())

    assert next(filter(None, hung)).endswith(f"over its limit of {limit_s}")


def test_a_text_with_nan_runs_again_in_parts_with_float32_activations() -> None:
    exact = []

    def fault(items: Sequence[Item]) -> None:
        [item] = items
        assert item.split is not None
        exact.append(item.split.exact)
        if item.until == 1 and not item.split.exact:
            raise NonFinite((0,), [np.array([np.nan], dtype=np.float32)])

    backend, request = FakeBackend(splits_texts=True, dtype="bfloat16", fault=fault), _request(300)
    scheduler = Scheduler({"m": backend}, LIMITS)

    scheduler.add(LONG, request)
    [(_, answer)] = _finish(scheduler)

    assert exact == [False] * 5 + [True] * 5
    assert isinstance(answer, EngineResult)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NonFinite((0,), [np.array([np.nan], dtype=np.float32)]), "non_finite"),
        (OutOfMemory(), "out_of_memory"),
        (RuntimeError("boom"), "internal"),
    ],
    ids=str,
)
def test_a_part_that_fails_ends_its_request_and_no_other(error: Exception, reason: str) -> None:
    def fault(items: Sequence[Item]) -> None:
        if any(item.split for item in items):
            raise error

    backend = FakeBackend(splits_texts=True, fault=fault)
    scheduler = Scheduler({"m": backend}, LIMITS)

    scheduler.add(LONG, _request(300))
    scheduler.add(QUERY, _request(3, request_id=2))
    answers = dict(_finish(scheduler))

    assert answers[LONG] == EngineFailure(1, reason, 0)  # type: ignore[arg-type]
    assert isinstance(answers[QUERY], EngineResult)
    assert len(backend.shares) == 1


def test_texts_in_parts_share_no_prefix() -> None:
    shared = np.array([0, 90, 90, 30], dtype=np.int32)
    request = replace(_request(95, 300, 95, 40), shared=shared)
    backend = FakeBackend(shares_prefixes=True, splits_texts=True)
    scheduler = Scheduler({"m": backend}, LIMITS)

    assert scheduler.add(LONG, request) == 95 + 300 + 95 + 10
