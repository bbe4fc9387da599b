"""A full queue, timeouts, and clients that hang up: refused early, dropped early, no batch without a client."""

from collections.abc import Callable

from tests.support.http.requests import openai_error
from tests.support.server.fake_models import Clients, FakeModel, batches, hold, in_flight, metric_total, queued, until
from tests.support.server.process import ServerProcess

SMALL = {"limits": {"inputs": 8, "documents": 8}, "batching": {"queue_items": 8}}


async def test_a_full_queue_refuses_before_it_tokenises(start: Callable[..., ServerProcess], model: FakeModel) -> None:
    hearth = start(model, **SMALL)
    accepted, refused = Clients(hearth), Clients(hearth)

    await hold(hearth, model, accepted, ["a"] * 8)
    refused.send(30, "b")
    answers = await refused.answers()
    model.release()
    [held] = await accepted.answers()

    assert held.status_code == 200
    assert {openai_error(answer, 429)["code"] for answer in answers} == {"rate_limit_exceeded"}
    assert min(int(answer.headers["retry-after"]) for answer in answers) >= 1
    assert metric_total(hearth, "hearth_refusals_total") == 30
    assert metric_total(hearth, 'hearth_stage_seconds_count{stage="tokenize"}') == 1
    assert batches(hearth) == 1


async def test_a_request_over_the_limits_is_400_even_when_the_queue_is_full(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model, limits={**SMALL["limits"], "request_tokens": 20}, batching={"queue_items": 8})
    accepted, too_many, too_long = Clients(hearth), Clients(hearth), Clients(hearth)

    too_long.send(1, "one two three four " * 20)
    [long_answer] = await too_long.answers()
    await hold(hearth, model, accepted, ["a"] * 8)
    too_many.send(1, ["a"] * 9)
    [answer] = await too_many.answers()
    model.release()

    assert openai_error(long_answer, 400)["message"]
    assert openai_error(answer, 400)["message"]
    assert (await accepted.answers())[0].status_code == 200


async def test_a_queue_that_was_full_accepts_requests_again(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model, **SMALL)
    first, second, third = Clients(hearth), Clients(hearth), Clients(hearth)

    await hold(hearth, model, first, ["a"] * 8)
    second.send(1, "b")
    [refused] = await second.answers()
    model.release()
    await first.answers()
    third.send(1, ["b"] * 8)
    [answer] = await third.answers()

    assert (refused.status_code, answer.status_code) == (429, 200)


async def test_requests_of_clients_that_hang_up_while_they_wait_never_run(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    patient, gone = Clients(hearth), Clients(hearth)

    await hold(hearth, model, patient)
    gone.send(30, ["b", "c"])
    await queued(hearth, 60)
    await gone.hang_up()
    await queued(hearth, 0)
    model.release()
    [answer] = await patient.answers()

    assert answer.status_code == 200
    assert batches(hearth) == 1
    await until(
        hearth, lambda: metric_total(hearth, 'hearth_requests_total{route="/v1/embeddings",status="499"}') == 30
    )


async def test_a_request_that_waited_too_long_is_answered_and_dropped(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    patient, hasty = Clients(hearth), Clients(hearth)

    await hold(hearth, model, patient)
    hasty.send(1, "b", **{"x-request-timeout": "0.2"})
    [late] = await hasty.answers()
    await queued(hearth, 0)
    model.release()
    [answer] = await patient.answers()

    assert openai_error(late, 504)["code"] == "deadline_exceeded"
    assert answer.status_code == 200
    assert batches(hearth) == 1


async def test_a_bulk_job_stops_when_its_client_hangs_up(start: Callable[..., ServerProcess], model: FakeModel) -> None:
    hearth = start(model, batching={"max_tokens": 64})
    gone = Clients(hearth)

    await hold(hearth, model, gone, ["a b c d e f g"] * 1000)
    await in_flight(hearth, 1)
    await gone.hang_up()
    await in_flight(hearth, 0)
    model.release()
    await until(hearth, lambda: batches(hearth) == 1)
    after = Clients(hearth)
    after.send(1)
    await after.answers()

    assert batches(hearth) <= 3
