"""A failure of the device is answered to the requests that it concerns, and to no others."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.support.http.requests import openai_error
from tests.support.server.fake_models import Clients, FakeModel, batches, hold, queued, restarted, token_id
from tests.support.server.process import ServerProcess


async def test_a_batch_that_does_not_fit_is_halved(start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    hearth = start(FakeModel(tmp_path / "small", memory_tokens=10))
    clients = Clients(hearth)

    clients.send(1, ["a"] * 64)
    [answer] = await clients.answers()

    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 64
    assert "out of memory" in hearth.text()


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


async def test_after_a_lost_device_the_engine_process_is_replaced(
    start: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    model = FakeModel(tmp_path / "lost", lost=token_id("X"))
    hearth = start(model)
    waiting, after = Clients(hearth), Clients(hearth)

    await hold(hearth, model, waiting)
    waiting.send(1, "X")
    waiting.send(5)
    await queued(hearth, 6)
    model.release()
    first, *others = await waiting.answers()
    await restarted(hearth)
    after.send(1)
    [later] = await after.answers()

    assert first.status_code == 200
    assert {openai_error(answer, 503)["code"] for answer in others} == {"unavailable"}
    assert min(int(answer.headers["retry-after"]) for answer in others) >= 1
    assert later.status_code == 200
    assert "it fell off the bus" in hearth.text()


async def test_when_a_device_hangs_the_engine_process_is_replaced(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model, request_timeout_s=2)
    stuck, after = Clients(hearth), Clients(hearth)

    await hold(hearth, model, stuck)
    [answer] = await stuck.answers()
    await asyncio.to_thread(hearth.wait_for, "the device hangs")
    model.release()
    await restarted(hearth)
    after.send(1)
    [answer_after] = await after.answers()

    assert answer.status_code in (503, 504)
    assert answer_after.status_code == 200
