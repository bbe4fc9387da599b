"""Which waiting items run next."""

from collections import defaultdict
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.batching import (
    GOOD_BATCHES,
    MAX_MISFITS,
    AdaptiveBatchLimits,
    BatchItem,
    BatchLimits,
    Job,
    JobQueue,
    take_batch,
)
from tests.support.operations import operations

A, B, C = (b"", 1), (b"", 2), (b"second", 1)
SECONDS_PER_TOKEN = 0.01


def _job(
    key: tuple[bytes, int],
    lengths: list[int],
    *,
    model: str = "m",
    arrived: float = 0,
    shared: int = 0,
    caller: str = "",
) -> Job:
    return Job(key, model, lengths, [0, *[shared] * (len(lengths) - 1)], arrived, caller=caller)


def _take(*jobs: Job, max_tokens: int = 100, max_items: int = 10, now: float = 1) -> list[BatchItem]:
    limits = BatchLimits(max_tokens, max_items)
    return take_batch(_queue(jobs), limits, now, defaultdict(lambda: SECONDS_PER_TOKEN))


def _queue(jobs: Iterable[Job]) -> JobQueue:
    return JobQueue(sorted(jobs, key=lambda job: job.arrived))


def test_without_waiting_items_the_batch_is_empty() -> None:
    assert _take() == []
    assert _take(_job(A, [])) == []


def test_everything_that_fits_runs_together() -> None:
    assert _take(_job(A, [10, 20]), _job(B, [30])) == [BatchItem(A, 0), BatchItem(A, 1), BatchItem(B, 0)]


def test_a_batch_ends_at_its_token_limit_and_the_rest_comes_next() -> None:
    job = _job(A, [60, 40, 1])

    assert _take(job) == [BatchItem(A, 0), BatchItem(A, 1)]
    assert _take(job) == [BatchItem(A, 2)]
    assert _take(job) == []


def test_a_batch_ends_at_its_number_of_items() -> None:
    assert len(_take(_job(A, [1] * 30), max_items=7)) == 7


def test_an_item_over_the_limit_runs_alone() -> None:
    long, short = _job(A, [500], arrived=-200), _job(B, [5])

    assert _take(long, short) == [BatchItem(A, 0)]
    assert _take(long, short) == [BatchItem(B, 0)]


def test_a_job_that_does_not_fit_leaves_room_for_one_that_does() -> None:
    first, second, third = _job(A, [60]), _job(B, [61]), _job(C, [40], arrived=0.99)

    assert {item.key for item in _take(first, second, third)} == {A, C}


def test_it_does_not_look_through_thousands_of_jobs_to_fill_a_gap() -> None:
    large = [_job((b"", n), [90]) for n in range(MAX_MISFITS + 1)]
    fits = _job(A, [10], arrived=1)

    assert _take(*large, fits, now=0) == [BatchItem((b"", 0), 0)]
    assert len(_take(*large[1:20], fits, now=0)) == 2


def test_one_batch_is_of_one_model() -> None:
    batch = _take(_job(A, [1], model="m"), _job(B, [1], model="n"), _job(C, [1], model="m"))

    assert {item.key for item in batch} == {A, C}


def test_a_short_job_passes_a_long_one_that_came_at_the_same_time() -> None:
    assert _take(_job(A, [10] * 50), _job(B, [10]))[0] == BatchItem(B, 0)


def test_a_long_job_that_has_waited_passes_a_short_one_that_has_not() -> None:
    assert _take(_job(A, [10] * 50, arrived=-1000), _job(B, [10], arrived=1))[0] == BatchItem(A, 0)


def test_the_last_batches_of_a_long_job_do_not_pass_a_query() -> None:
    long, query = _job(A, [10] * 50), _job(B, [10], arrived=400)
    for _ in range(40):
        long.take()

    assert _take(long, query, now=410)[0] == BatchItem(B, 0)


def test_items_of_a_job_stay_next_to_each_other() -> None:
    batch = _take(_job(A, [5] * 3), _job(B, [5] * 3), _job(C, [5] * 3))

    assert [item.index for item in batch] == [0, 1, 2] * 3


def test_a_shared_prefix_counts_once_in_a_batch() -> None:
    job = _job(A, [50, 50, 50], shared=40)

    assert len(_take(job, max_tokens=70)) == 3
    assert job.waiting_tokens == 0


def test_a_shared_prefix_counts_again_in_the_next_batch() -> None:
    job = _job(A, [50, 50, 50], shared=40)

    assert _take(job, max_tokens=69) == [BatchItem(A, 0), BatchItem(A, 1)]
    assert job.next_cost(joins=False) == 50


def test_a_job_counts_its_waiting_items_and_tokens() -> None:
    job = _job(A, [3, 4, 5])

    job.take()

    assert (job.waiting, job.waiting_tokens) == (2, 9)


@pytest.mark.parametrize("waited", [0, 1, 100])
def test_the_response_ratio_is_the_waiting_time_in_units_of_the_service_time(waited: float) -> None:
    job = _job(A, [100])

    assert job.response_ratio(waited, SECONDS_PER_TOKEN) == pytest.approx(waited + 1)


def test_the_response_ratio_uses_the_speed_of_each_model() -> None:
    fast, slow = _job(A, [10], model="fast", arrived=0.5), _job(B, [10], model="slow", arrived=0)

    batch = take_batch(_queue([slow, fast]), BatchLimits(100, 10), 1, {"fast": 0.001, "slow": 1.0})

    assert batch == [BatchItem(A, 0)]


def test_a_query_passes_the_many_queries_of_another_caller() -> None:
    crowd = [_job((b"crowd", n), [10], caller="crowd") for n in range(300)]
    query = _job(A, [10], arrived=29, caller="light")

    assert _take(*crowd, query, now=30)[0] == BatchItem(A, 0)


def test_a_bulk_job_passes_the_many_bulk_jobs_of_another_caller() -> None:
    crowd = [_job((b"crowd", n), [10] * 50, caller="crowd") for n in range(20)]
    job = _job(A, [10] * 50, arrived=90, caller="light")

    assert _take(*crowd, job, now=100)[0] == BatchItem(A, 0)


def test_the_queries_of_a_caller_do_not_delay_its_own_bulk_job_beside_another_caller() -> None:
    queries = [_job((b"query", n), [1], arrived=100, caller="both") for n in range(50)]
    own, foreign = _job(A, [10] * 50, arrived=50, caller="both"), _job(B, [10] * 50, arrived=60, caller="bulk")

    assert _take(*queries, own, foreign, now=100)[0] == BatchItem(A, 0)


def test_the_query_of_a_caller_passes_its_own_bulk_job_beside_another_caller() -> None:
    own, foreign = _job(A, [10] * 50, caller="both"), _job(B, [10] * 50, caller="bulk")
    query = _job(C, [10], arrived=9, caller="both")

    assert _take(own, foreign, query, now=10)[0] == BatchItem(C, 0)


def _drain(jobs: list[Job], limits: BatchLimits) -> list[list[BatchItem]]:
    """Every batch until nothing waits; time passes with the tokens."""
    batches, now = [], max(job.arrived for job in jobs)
    queue = _queue(jobs)
    while batch := take_batch(queue, limits, now, defaultdict(lambda: SECONDS_PER_TOKEN)):
        batches.append(batch)
        now += 1
    return batches


JOBS = st.lists(
    st.tuples(
        st.lists(st.integers(1, 120), min_size=1, max_size=20),
        st.sampled_from("mn"),
        st.integers(0, 50),
        st.sampled_from("abc"),
    ),
    min_size=1,
    max_size=30,
)


def _jobs(drawn: list[tuple[list[int], str, int, str]], callers: str | None = None) -> list[Job]:
    return [
        _job((b"", number), lengths, model=model, arrived=arrived, caller=caller if callers is None else callers)
        for number, (lengths, model, arrived, caller) in enumerate(drawn)
    ]


@given(drawn=JOBS)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_whoever_calls_every_item_runs_once_within_the_limits(drawn: list[tuple[list[int], str, int, str]]) -> None:
    limits = BatchLimits(100, 10)

    batches = _drain(_jobs(drawn), limits)

    items = [(item.key[1], item.index) for batch in batches for item in batch]
    assert sorted(items) == [(job, item) for job, drawing in enumerate(drawn) for item in range(len(drawing[0]))]
    sizes = [sum(drawn[item.key[1]][0][item.index] for item in batch) for batch in batches]
    assert all(size <= 100 or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))
    assert max(map(len, batches)) <= 10


@given(drawn=JOBS)
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_single_caller_gets_the_same_batches_whoever_it_is(drawn: list[tuple[list[int], str, int, str]]) -> None:
    limits = BatchLimits(100, 10)

    batches = _drain(_jobs(drawn, callers="a"), limits)

    assert batches == _drain(_jobs(drawn, callers=""), limits)
    by_ratio = sorted(
        _jobs(drawn), key=lambda job: -job.response_ratio(max(job.arrived for job in _jobs(drawn)), SECONDS_PER_TOKEN)
    )
    assert batches[0][0].key == by_ratio[0].key


def test_no_job_starves_while_another_caller_sends_without_end() -> None:
    job = _job(A, [10] * 20, caller="bulk")
    crowd = [_job((b"crowd", n), [90], caller="crowd") for n in range(50)]
    now = 0.0
    while job.waiting:
        now += 1
        take_batch(_queue([*crowd, job]), BatchLimits(100, 10), now, {"m": SECONDS_PER_TOKEN})
        crowd = [
            waiting if waiting.waiting else _job(waiting.key, [90], arrived=now, caller="crowd") for waiting in crowd
        ]

    assert now < 10


def test_a_queue_counts_what_waits_for_each_model() -> None:
    job = _job(A, [3, 4, 5])
    queue = _queue([job, _job(B, [7], model="n", caller="b"), _job(C, [])])

    queue.take(job, 1)

    assert (len(queue), *map(queue.waiting, "mno")) == (2, (2, 9), (1, 7), (0, 0))
    assert (list(queue.models), list(queue.callers)) == (["m", "n"], ["", "b"])


def test_a_queue_is_empty_when_its_jobs_are_dropped_or_taken() -> None:
    taken, dropped = _job(A, [3, 4]), _job(B, [5], caller="b")
    dropped.alone = True
    queue = _queue([taken, dropped])
    held = queue.holds_alone

    queue.drop(B)
    queue.drop(B)
    take_batch(queue, BatchLimits(100, 10), 1, {"m": SECONDS_PER_TOKEN})

    assert (held, queue.holds_alone, len(queue), queue.waiting("m")) == (True, False, 0, (0, 0))
    assert (list(queue.models), list(queue.callers)) == ([], [])


def test_the_size_of_a_job_is_rounded_by_a_sixteenth_at_most() -> None:
    sizes = [_job(A, [tokens]).service_tokens for tokens in range(5000)]

    assert sizes[:33] == [1, *range(1, 33)]
    assert all(tokens <= size <= tokens * 17 / 16 for tokens, size in enumerate(sizes[1:], 1))
    assert len(set(sizes)) < 32 + 16 * 8


@given(drawn=JOBS)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_jobs_have_their_turns_as_if_all_were_sorted(drawn: list[tuple[list[int], str, int, str]]) -> None:
    jobs = sorted(_jobs(drawn), key=lambda job: job.arrived)
    speeds = {"m": 0.01, "n": 0.07}

    in_turn = list(JobQueue(jobs).in_turn(100, speeds))

    assert [job.key for job in in_turn] == [job.key for job in _sorted_by_turn(jobs, 100, speeds)]


def _sorted_by_turn(jobs: list[Job], now: float, speeds: dict[str, float]) -> list[Job]:
    """The rule over all jobs at once, without lines of equal sizes."""
    turns: list[tuple[float, Job]] = []
    callers = dict.fromkeys(job.caller for job in jobs)
    for caller in callers:
        own = sorted(
            (job for job in jobs if job.caller == caller),
            key=lambda job: -job.response_ratio(now, speeds[job.model]),
        )
        turn = float("inf")
        for job in own:
            service_s = [other.service_tokens * speeds[other.model] for other in own]
            own_s = job.service_tokens * speeds[job.model]
            turn = min(turn, (now - job.arrived) / sum(min(seconds, own_s) for seconds in service_s))
            turns.append((turn if len(callers) > 1 else 0.0, job))
    return [job for _, job in sorted(turns, key=lambda turn: -turn[0])]


@pytest.mark.parametrize("tokens", [[30], [700], [40, 50, 60]], ids=["fitting", "filling", "several"])
def test_a_batch_costs_the_same_however_many_jobs_wait(tokens: list[int]) -> None:
    def choose(waiting: int) -> int:
        queue = JobQueue(
            _job((b"", n), [length + n % 100 for length in tokens], arrived=n / waiting, model="mn"[n % 10 == 0])
            for n in range(waiting)
        )
        return operations(lambda: take_batch(queue, BatchLimits(16384, 16), 2, {"m": 1e-5, "n": 1e-5}))

    few, many = choose(2000), choose(20000)

    assert many < 1.3 * few


def test_after_a_batch_that_did_not_fit_the_limit_is_half_of_it() -> None:
    batch_limits = AdaptiveBatchLimits(BatchLimits(1000, 10))

    batch_limits.shrink(600)

    assert batch_limits.limits == BatchLimits(300, 10)


def test_the_limit_is_at_least_one_token() -> None:
    batch_limits = AdaptiveBatchLimits(BatchLimits(1000, 10))

    batch_limits.shrink(1)

    assert batch_limits.limits.max_tokens == 1


def test_successful_batches_bring_the_configured_limits_back() -> None:
    batch_limits = AdaptiveBatchLimits(BatchLimits(1000, 10))
    batch_limits.shrink(1000)

    grown = [(batch_limits.record_success(), batch_limits.limits.max_tokens)[1] for _ in range(8 * GOOD_BATCHES)]

    assert grown[GOOD_BATCHES - 2 : GOOD_BATCHES] == [500, 551]
    assert grown[-1] == 1000
