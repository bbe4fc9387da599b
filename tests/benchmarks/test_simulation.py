"""Small runs of the simulation: how the scheduling rules compare, and that a run can be repeated."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.simulation.arrivals import Arrival, crowd, recorded, reranks, write_recorded
from benchmarks.simulation.figures import percentiles, rows
from benchmarks.simulation.policies import OURS, POLICIES, Policy
from benchmarks.simulation.scenarios import (
    Load,
    Scenario,
    bulk_then_query,
    compare,
    crowd_beside_queries,
    eight_bulk_clients,
)
from benchmarks.simulation.virtual import CPU, GPU, Device, Run, simulate

OURS_LATE, OURS_AT_START, OURS_AT_END, BY_REST, IN_FULL, WITHOUT_SHARES, FIFO, TEI, VLLM = (
    policy.name for policy in POLICIES
)
SMALL = Load(4, 200, 5, 4)


@pytest.fixture(scope="module")
def mixed() -> dict[str, Run]:
    """Queries, rerank requests and bulk jobs on a GPU."""
    return compare(Scenario("mixed", GPU, SMALL.arrivals(seed=1)))


@pytest.fixture(scope="module")
def eight_clients() -> dict[str, Run]:
    """Queries beside eight bulk clients on a CPU."""
    return compare(eight_bulk_clients(CPU, jobs=2))


def _p99_batches(run: Run) -> float:
    return percentiles([request.batches for request in run.of("query")])[1]


def _p50_seconds(run: Run) -> float:
    return percentiles([request.seconds for request in run.of("query")])[0]


def _answer_times(run: Run) -> list[object]:
    return [(request.job.key, request.seconds) for request in run.served]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_the_same_seed_gives_the_same_run(policy: Policy) -> None:
    first, second = (simulate(policy, GPU, SMALL.arrivals(seed=3)) for _ in range(2))

    assert _answer_times(first) == _answer_times(second)
    assert (first.batches, first.tokens, first.idle_s) == (second.batches, second.tokens, second.idle_s)


def test_every_rule_answers_all_requests_and_computes_the_same_tokens_or_more(mixed: dict[str, Run]) -> None:
    arrivals = SMALL.arrivals(seed=1)

    assert {len(run.served) for run in mixed.values()} == {len(arrivals)}
    assert min(run.tokens for run in mixed.values()) >= sum(arrival.unique_tokens for arrival in arrivals)


@pytest.mark.parametrize("device", [CPU, GPU], ids=lambda device: device.name)
def test_after_2048_texts_a_query_runs_within_two_batches(device: Device) -> None:
    runs = compare(bulk_then_query(device))
    in_batches = {name: run.of("query")[0].batches for name, run in runs.items()}

    assert in_batches[OURS_LATE] <= 2
    # All batches of the job that were left when the query arrived.
    assert in_batches[FIFO] >= runs[FIFO].batches - runs[FIFO].batches // 10 - 2


def test_beside_eight_bulk_clients_queries_wait_three_batches_and_bulk_moves(eight_clients: dict[str, Run]) -> None:
    ours, fifo = eight_clients[OURS_LATE], eight_clients[FIFO]

    assert _p99_batches(ours) <= 3 < _p99_batches(eight_clients[BY_REST])
    assert _p99_batches(fifo) > 100
    assert ours.tokens / ours.seconds > 0.98 * fifo.tokens / fifo.seconds


def test_binding_late_is_as_quick_as_at_the_end_and_as_full_as_at_the_start(mixed: dict[str, Run]) -> None:
    late, start, end = mixed[OURS_LATE], mixed[OURS_AT_START], mixed[OURS_AT_END]

    assert _p50_seconds(late) < 1.05 * _p50_seconds(end) < _p50_seconds(start)
    assert start.idle_s <= late.idle_s < end.idle_s / 2


def test_queries_are_quickest_under_ours(mixed: dict[str, Run]) -> None:
    quickest = min(mixed, key=lambda name: _p50_seconds(mixed[name]))

    assert quickest in (OURS_LATE, OURS_AT_END)
    assert _p99_batches(mixed[OURS_LATE]) < min(_p99_batches(mixed[name]) for name in (FIFO, TEI, VLLM))


def test_beside_300_clients_of_one_caller_queries_of_another_wait_two_batches() -> None:
    scenario = crowd_beside_queries(CPU)
    runs = compare(scenario, [policy for policy in POLICIES if policy.name in (OURS_LATE, IN_FULL, WITHOUT_SHARES)])
    ours, in_full, without = runs[OURS_LATE], runs[IN_FULL], runs[WITHOUT_SHARES]
    alone_s = CPU.seconds(30) + CPU.host_s

    assert _p50_seconds(ours) < 10 * alone_s < _p50_seconds(in_full) / 2
    assert percentiles([request.batches for request in in_full.of("query")]) <= (2, 3)
    assert percentiles([request.batches for request in without.of("query")])[0] > 8
    assert in_full.fill == pytest.approx(without.fill, abs=0.01)
    assert ours.tokens / ours.seconds > 0.9 * without.tokens / without.seconds


def test_callers_with_different_numbers_of_clients_get_similar_shares() -> None:
    arrivals = [*crowd(1, 150, "many"), *crowd(2, 50, "some")]
    run = simulate(OURS, CPU, arrivals, until_s=100)

    answered = Counter(request.arrival.caller for request in run.served)
    assert answered["some"] < answered["many"] < 1.5 * answered["some"]


def test_an_idle_device_takes_a_query_at_once() -> None:
    [query] = simulate(OURS, GPU, [Arrival(5.0, "query", (30,))]).served

    assert query.seconds == pytest.approx(GPU.host_s + GPU.seconds(30))
    assert query.batches == 1


def test_a_shared_prefix_is_computed_once_a_batch() -> None:
    [request, *_] = reranks(seed=0, per_second=5, seconds=5)

    run = simulate(OURS, GPU, [request])

    assert run.batches == 1
    assert run.tokens == request.unique_tokens < sum(request.lengths)


def test_recorded_arrivals_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_recorded(tmp_path / "arrivals.jsonl", [Arrival(0.25, "recorded", (31, 28), 5)])

    assert recorded(tmp_path / "arrivals.jsonl") == [Arrival(0.25, "recorded", (31, 28), 5)]


def test_a_table_leaves_out_what_did_not_happen(mixed: dict[str, Run]) -> None:
    head, *lines = rows(mixed)

    assert "rerank p50 / p99 ms" in head
    assert "recorded p50 / p99 ms" not in head
    assert [line[0] for line in lines] == list(mixed)
