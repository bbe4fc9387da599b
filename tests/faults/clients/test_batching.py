"""Requests share forward passes, and a query does not wait behind a bulk job."""

from collections.abc import Callable
from pathlib import Path

from tests.support.server.fake_models import Clients, FakeModel, batches, hold, in_flight, p99, queued, stages, until
from tests.support.server.process import ServerProcess

# About twenty tokens.
TEXT = "a question of twenty tokens, more or less, as people ask a search engine every day"


async def test_64_clients_with_a_text_each_need_a_quarter_as_many_batches(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    clients = Clients(hearth)

    await hold(hearth, model, clients, TEXT)
    clients.send(63, TEXT)
    await queued(hearth, 63)
    model.release()
    answers = await clients.answers()

    assert [answer.status_code for answer in answers] == [200] * 64
    assert batches(hearth) <= 64 / 4


async def test_a_query_after_2048_texts_is_answered_within_two_batches(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    # A batch of this device, 1,024 tokens, takes 0.2 s: enough to count batches while the next one runs.
    model = FakeModel(tmp_path / "slow", seconds_per_token=2e-4)
    hearth = start(model)
    bulk, query = Clients(hearth), Clients(hearth)

    bulk.send(1, ["a b"] * 2048)
    await until(hearth, lambda: batches(hearth) >= 1)
    model.hold()
    await until(hearth, model.is_held)
    before = batches(hearth)
    query.send(1, "c")
    await in_flight(hearth, 2)
    model.release()
    [answer] = await query.answers()
    after = batches(hearth)
    [bulk_answer] = await bulk.answers()

    assert answer.status_code == bulk_answer.status_code == 200
    assert after - before <= 2
    assert batches(hearth) - after >= 2


async def test_queries_beside_eight_bulk_clients_wait_three_batches_at_most(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    # On a busy machine the bulk jobs take longer than a request may wait by default.
    hearth = start(FakeModel(tmp_path / "slow", seconds_per_token=5e-5), batching={"queue_seconds": 300})
    bulk, queries = Clients(hearth), Clients(hearth)

    bulk.send(8, ["a b c d"] * 2048)
    await until(hearth, lambda: batches(hearth) >= 2)
    await queries.send_slowly(25, "e", every_s=0.05)
    query_answers = await queries.answers()
    unfinished = bulk.waiting()
    answers = await bulk.answers()

    assert unfinished, "the bulk jobs ended before the queries did"
    assert [answer.status_code for answer in answers] == [200] * 8
    assert p99(_in_batches(stages(answer)) for answer in query_answers) <= 3


def _in_batches(milliseconds: dict[str, float]) -> float:
    """The time in the engine in units of the batch that the query ran in, which a bulk job filled."""
    return (milliseconds["queue"] + milliseconds["forward"]) / milliseconds["forward"]
