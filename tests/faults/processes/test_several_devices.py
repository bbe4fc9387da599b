"""Models on several devices, with an engine process for each device."""

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.http.requests import V1
from tests.support.server.fake_models import (
    Clients,
    FakeModel,
    children,
    get_page,
    in_flight,
    paused,
    pid_of,
    send_signal,
    until,
)
from tests.support.server.process import ServerProcess


@pytest.mark.parametrize("workers", [1, 2])
async def test_when_one_device_is_lost_the_other_one_serves(
    start: Callable[..., ServerProcess], tmp_path: Path, workers: int
) -> None:
    first, second = FakeModel(tmp_path / "first"), FakeModel(tmp_path / "second")
    first.config |= {"id": "first", "device": "cpu"}
    second.config |= {"id": "second", "device": "cuda:1"}
    hearth = start(first, second, workers=workers)
    first_engine, second_engine, *_ = children(pid_of(hearth))

    def status(model: str) -> int:
        return httpx.post(f"{hearth.url}{V1}", json={"input": "a", "model": model}, trust_env=False).status_code

    await until(hearth, lambda: status("first") == status("second") == 200)
    send_signal([first_engine], signal.SIGSTOP)
    send_signal([second_engine], signal.SIGKILL)
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 503)
    send_signal([first_engine], signal.SIGCONT)
    served_meanwhile = status("first")
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 200)

    assert served_meanwhile == 200
    assert status("second") == 200
    hearth.terminate()
    assert hearth.end() == 0


async def test_for_a_model_on_two_devices_the_free_one_answers(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    model.config |= {"device": ["cpu", "cuda:1"]}
    hearth = start(model)
    busy, free = Clients(hearth), Clients(hearth)
    first_engine, _ = children(pid_of(hearth))
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 200)

    with paused([first_engine]):
        busy.send(1, "a longer text than all of the others together")
        await in_flight(hearth, 1)
        free.send(3)
        answers = await free.answers()
        waiting = busy.waiting()
    answers += await busy.answers()

    assert [answer.status_code for answer in answers] == [200] * 4
    assert waiting == 1
