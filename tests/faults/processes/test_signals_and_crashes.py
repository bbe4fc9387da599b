"""Processes that get SIGTERM, and processes that are killed."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic

import pytest

from models import demo_models
from tests.support.http.requests import openai_error
from tests.support.server.fake_models import (
    Clients,
    FakeModel,
    children,
    get_page,
    hold,
    in_flight,
    metric_total,
    pid_of,
    queued,
    restarted,
    running,
    send_signal,
    until,
)
from tests.support.server.process import ServerProcess


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def _main_process(hearth: ServerProcess) -> list[int]:
    return [pid_of(hearth)]


def _all_processes(hearth: ServerProcess) -> list[int]:
    # As systemd does by default (KillMode=control-group), and a shell with Ctrl-C.
    return [pid_of(hearth), *children(pid_of(hearth))]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("receivers", [_main_process, _all_processes])
async def test_sigterm_lets_100_requests_in_flight_be_answered(
    start: Callable[..., ServerProcess],
    model: FakeModel,
    receivers: Callable[[ServerProcess], Iterable[int]],
    workers: int,
) -> None:
    hearth = start(model, workers=workers)
    clients, late = Clients(hearth), Clients(hearth)

    await hold(hearth, model, clients)
    clients.send(99)
    await queued(hearth, 99)
    send_signal(receivers(hearth), signal.SIGTERM)
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 503)
    live = await asyncio.to_thread(get_page, hearth, "/live")
    late.send(1)
    [late_answer] = await late.answers()
    model.release()
    answers = await clients.answers()

    assert [answer.status_code for answer in answers] == [200] * 100
    assert openai_error(late_answer, 503)["code"] == "draining"
    assert int(late_answer.headers["retry-after"]) >= 1
    assert live.status_code == 200
    assert hearth.end() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_when_the_engine_is_killed_the_next_one_answers_every_request(
    start: Callable[..., ServerProcess], model: FakeModel, workers: int
) -> None:
    hearth = start(model, workers=workers)
    waiting = Clients(hearth)
    engine = children(pid_of(hearth))[0]

    await hold(hearth, model, waiting)
    waiting.send(30)
    await queued(hearth, 30)
    killed_at = monotonic()
    send_signal([engine], signal.SIGKILL)
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 503, timeout_s=5)
    model.release()
    answers = await waiting.answers()
    answered_after_s = monotonic() - killed_at
    await restarted(hearth, workers)

    assert {answer.status_code for answer in answers} in ({200}, {503})
    assert answered_after_s < 10


async def test_what_has_no_result_when_the_drain_ends_gets_503(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model, drain_timeout_s=1)
    clients = Clients(hearth)

    await hold(hearth, model, clients)
    clients.send(3)
    await in_flight(hearth, 4)
    hearth.terminate()
    answers = await clients.answers()

    assert [openai_error(answer, 503)["code"] for answer in answers] == ["draining"] * 4
    assert await asyncio.to_thread(hearth.end, 15) == 0


async def test_an_engine_that_is_killed_again_and_again_ends_the_command(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)

    for _ in range(5):
        await until(hearth, lambda: children(pid_of(hearth)))
        [engine] = children(pid_of(hearth))
        send_signal([engine], signal.SIGKILL)
        await until(hearth, lambda engine=engine: engine not in children(pid_of(hearth)))

    assert await asyncio.to_thread(hearth.end) == 2
    hearth.wait_for("5 times within 60 s")


@pytest.mark.parametrize("workers", [1, 2])
async def test_when_the_main_process_is_killed_no_process_or_file_stays(
    start: Callable[..., ServerProcess], model: FakeModel, temporary: Path, workers: int
) -> None:
    hearth = start(model, workers=workers)
    child_pids = children(pid_of(hearth))

    send_signal([pid_of(hearth)], signal.SIGKILL)

    assert len(child_pids) == (1 if workers == 1 else 3)
    await until(hearth, lambda: not running(child_pids), timeout_s=5)
    assert _files(temporary) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_while_it_starts_ends_it(model: FakeModel, tmp_path: Path, temporary: Path, workers: int) -> None:
    hearth = ServerProcess(
        tmp_path / "server", {"models": [model.config], "workers": workers}, environment={"TMPDIR": str(temporary)}
    )

    hearth.wait_for("listens on")
    hearth.terminate()

    assert hearth.end(timeout_s=15) == 0
    assert _files(temporary) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_weights_that_do_not_load_end_the_command_with_one_line(tmp_path: Path, workers: int) -> None:
    model = FakeModel(tmp_path / "model")
    (tmp_path / "model" / "fake.json").unlink()
    weights = tmp_path / "model" / "model.safetensors"
    half = weights.read_bytes()[: weights.stat().st_size // 2]
    weights.unlink()
    weights.write_bytes(half)

    hearth = ServerProcess(tmp_path / "server", {"models": [model.config | {"backend": "auto"}], "workers": workers})

    assert hearth.end() == 2
    assert [line for line in hearth.log if "not a safetensors file" in line] == hearth.log


def test_half_a_body_gets_503_when_the_drain_ends(start: Callable[..., ServerProcess], model: FakeModel) -> None:
    hearth = start(model, drain_timeout_s=0.2)

    with socket.create_connection(hearth.address, timeout=30) as client:
        client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        hearth.until(lambda: metric_total(hearth, "hearth_requests_in_flight") == 2)
        hearth.terminate()
        answer = client.makefile("rb").read()
        status = hearth.end(15)

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"draining"' in answer
    assert status == 0
    assert "Traceback" not in hearth.text()


async def test_an_engine_that_dies_while_the_server_drains_does_not_delay_its_end(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    clients = Clients(hearth)
    [engine] = children(pid_of(hearth))

    await hold(hearth, model, clients)
    clients.send(3)
    await in_flight(hearth, 4)
    hearth.terminate()
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 503)
    send_signal([engine], signal.SIGKILL)
    answers = await clients.answers()

    assert [answer.status_code for answer in answers] == [503] * 4
    assert await asyncio.to_thread(hearth.end, 15) == 0


async def test_a_second_sigterm_ends_the_drain(start: Callable[..., ServerProcess], model: FakeModel) -> None:
    hearth = start(model)
    clients = Clients(hearth)

    await hold(hearth, model, clients)
    hearth.terminate()
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 503)
    terminated_at = monotonic()
    hearth.terminate()
    status = await asyncio.to_thread(hearth.end, 20)
    await clients.drop()

    assert status == 0
    assert monotonic() - terminated_at < 10
    assert "Traceback" not in hearth.text()


@pytest.mark.parametrize("workers", [1, 2])
async def test_ctrl_c_lets_requests_in_flight_be_answered(
    start: Callable[..., ServerProcess], model: FakeModel, workers: int
) -> None:
    hearth = start(model, workers=workers)
    clients = Clients(hearth)

    await hold(hearth, model, clients)
    # A terminal sends it to every process.
    send_signal(_all_processes(hearth), signal.SIGINT)
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 503)
    model.release()
    [answer] = await clients.answers()

    assert answer.status_code == 200
    assert await asyncio.to_thread(hearth.end, 20) == 0
    assert "Traceback" not in hearth.text()


async def test_a_stopped_engine_does_not_delay_the_end(start: Callable[..., ServerProcess], model: FakeModel) -> None:
    hearth = start(model, drain_timeout_s=1)
    clients = Clients(hearth)
    [engine] = children(pid_of(hearth))

    await hold(hearth, model, clients)
    send_signal([engine], signal.SIGSTOP)
    hearth.terminate()
    [answer] = await clients.answers()
    status = await asyncio.to_thread(hearth.end, 15)

    assert openai_error(answer, 503)["code"] == "draining"
    assert status == 0
    assert not running([engine])


async def test_an_engine_that_is_killed_while_it_loads_loads_again(tmp_path: Path) -> None:
    hearth = ServerProcess(tmp_path / "server", {"models": [demo_models()[0]]})
    hearth.wait_for("MB of weights")
    send_signal(children(pid_of(hearth)), signal.SIGKILL)
    with hearth:
        clients = Clients(hearth)
        clients.send(3)
        answers = await clients.answers()

    assert [answer.status_code for answer in answers] == [200] * 3
    hearth.wait_for("ended with status -9 and is restarted")


async def test_when_every_child_is_killed_at_once_all_of_them_come_back(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model, workers=2)
    lost, after = Clients(hearth), Clients(hearth)
    killed = children(pid_of(hearth))

    await hold(hearth, model, lost)
    send_signal(killed, signal.SIGKILL)
    await lost.drop()
    model.release()
    await until(hearth, lambda: len(set(children(pid_of(hearth))) - set(killed)) == 3)
    await restarted(hearth, workers=2)
    after.send(5)
    answers = await after.answers()

    assert [answer.status_code for answer in answers] == [200] * 5
    assert not running(killed)
