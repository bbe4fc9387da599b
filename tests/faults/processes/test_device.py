"""A failure of the device is answered to the requests that it concerns, and to no others."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import httpx
import pytest

from tests.support.http.requests import openai_error
from tests.support.server.fake_models import (
    Clients,
    FakeModel,
    batches,
    children,
    get_page,
    hold,
    metric_total,
    pid_of,
    queued,
    restarted,
    running,
    send_signal,
    token_id,
    until,
)
from tests.support.server.process import ServerProcess


async def test_a_batch_that_does_not_fit_is_halved(start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    hearth = start(FakeModel(tmp_path / "small", memory_tokens=10))
    clients = Clients(hearth)

    clients.send(1, ["a"] * 64)
    [answer] = await clients.answers()

    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 64
    hearth.wait_for("out of memory")


async def test_an_input_that_fits_no_batch_fails_only_its_request(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    model = FakeModel(tmp_path / "small", memory_tokens=10)
    hearth = start(model)
    first, good, bad = Clients(hearth), Clients(hearth), Clients(hearth)

    await hold(hearth, model, first)
    good.send(4)
    bad.send(1, ["a", "one two three four five six seven eight nine ten eleven"])
    await queued(hearth, 6)
    model.release()

    assert [answer.status_code for answer in await good.answers()] == [200] * 4
    error = openai_error((await bad.answers())[0], 500)
    assert error["code"] == "out_of_memory"
    assert "input[1]" in error["message"]


async def test_a_row_with_nan_fails_only_its_request(start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    model = FakeModel(tmp_path / "nan", non_finite=token_id("X"))
    hearth = start(model)
    first, good, bad = Clients(hearth), Clients(hearth), Clients(hearth)

    await hold(hearth, model, first)
    good.send(4)
    bad.send(1, ["a", "b", "X"])
    await queued(hearth, 7)
    model.release()

    assert [answer.status_code for answer in await good.answers()] == [200] * 4
    assert "input[2]" in openai_error((await bad.answers())[0], 500)["message"]
    assert batches(hearth) == 2


async def test_an_error_of_a_batch_fails_only_the_request_that_causes_it(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    model = FakeModel(tmp_path / "broken", broken=token_id("X"))
    hearth = start(model)
    first, good, bad = Clients(hearth), Clients(hearth), Clients(hearth)

    await hold(hearth, model, first)
    good.send(9)
    bad.send(1, ["a", "X"])
    await queued(hearth, 11)
    model.release()

    assert [answer.status_code for answer in await good.answers()] == [200] * 9
    assert openai_error((await bad.answers())[0], 500)["code"] == "internal_error"


async def test_an_input_that_ends_the_engine_fails_only_its_request(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    model = FakeModel(tmp_path / "lost", lost=token_id("X"))
    hearth = start(model)
    waiting, again = Clients(hearth), Clients(hearth)

    await hold(hearth, model, waiting)
    waiting.send(1, "X")
    waiting.send(5)
    await queued(hearth, 6)
    model.release()
    held, guilty, *others = await waiting.answers()
    again.send(3, "X")
    repeated = await again.answers()

    assert held.status_code == 200
    assert openai_error(guilty, 500)["code"] == "engine_died"
    assert guilty.headers["x-should-retry"] == "false"
    assert [answer.status_code for answer in others] == [200] * 5
    assert {answer.status_code for answer in repeated} <= {500, 503}
    assert metric_total(hearth, 'hearth_restarts_total{process="engine"}') == 2
    hearth.wait_for("it fell off the bus")


async def test_inputs_that_each_end_the_engine_do_not_end_the_server(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    hearth = start(FakeModel(tmp_path / "lost", lost=token_id("X")))

    answers = [await _answer_when_ready(hearth, "X" + " a" * number) for number in range(3)]

    assert [openai_error(answer, 500)["code"] for answer in answers] == ["engine_died"] * 3
    assert (await _answer_when_ready(hearth, "a")).status_code == 200


async def test_when_a_batch_hangs_the_engine_process_is_replaced(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    first, stuck = Clients(hearth), Clients(hearth)

    first.send(1)
    await first.answers()
    await hold(hearth, model, stuck)
    stuck.send(3)
    await asyncio.to_thread(hearth.wait_for, "the engine process hangs and is killed: a batch has been running for")
    model.release()
    answers = await stuck.answers()

    assert [answer.status_code for answer in answers] == [200] * 4


@pytest.mark.parametrize("workers", [1, 2])
async def test_when_the_engine_process_is_stopped_it_is_replaced(
    start: Callable[..., ServerProcess], model: FakeModel, workers: int
) -> None:
    hearth = start(model, workers=workers)
    clients = Clients(hearth)
    engine = children(pid_of(hearth))[0]

    send_signal([engine], signal.SIGSTOP)
    clients.send(5)
    stopped_at = monotonic()
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 503)
    noticed_after_s = monotonic() - stopped_at
    answers = await clients.answers()
    answered_after_s = monotonic() - stopped_at
    await restarted(hearth, workers)

    assert noticed_after_s < 5
    assert answered_after_s < 10
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert not running([engine])
    hearth.wait_for("no sign of life")


async def test_a_batch_that_takes_longer_than_any_request_may_does_not_end_the_engine(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    hearth = start(FakeModel(tmp_path / "slow", seconds_per_token=0.05), request_timeout_s=0.2)
    late, short = Clients(hearth), Clients(hearth)

    late.send(3, "one two three four five six seven eight nine ten")
    answers = await late.answers()
    await queued(hearth, 0)
    short.send(1)
    [answer] = await short.answers()

    assert {answer.status_code for answer in answers} == {504}
    assert answer.status_code in (200, 504)
    assert metric_total(hearth, "hearth_restarts_total") == 0


async def test_a_query_passes_a_long_text_whose_client_may_leave(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    model = FakeModel(tmp_path / "slow", seconds_per_token=0.05, splits_texts=True)
    hearth = start(model, batching={"max_tokens": 64, "chunk_tokens": 64})
    long, query = Clients(hearth), Clients(hearth)

    long.send(1, " ".join(["one"] * 400))
    await until(hearth, lambda: batches(hearth))
    query.send(1)
    [answer] = await query.answers()
    waiting = long.waiting()
    await long.hang_up()
    await queued(hearth, 0)

    assert (answer.status_code, waiting) == (200, 1)
    assert 0 < metric_total(hearth, "hearth_tokens_total") < 400
    assert metric_total(hearth, "hearth_restarts_total") == 0


async def _answer_when_ready(hearth: ServerProcess, text: str) -> httpx.Response:
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 200)
    clients = Clients(hearth)
    clients.send(1, text)
    [answer] = await clients.answers()
    return answer
