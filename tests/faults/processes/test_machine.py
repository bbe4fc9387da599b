"""What a machine does to a server: the clock jumps, memory and descriptors run out, temporary files are cleaned up."""

import asyncio
import resource
import shutil
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from models import demo_models
from tests.support.server.fake_models import (
    Clients,
    FakeModel,
    children,
    get_page,
    hold,
    metric_total,
    paused,
    pid_of,
    restarted,
    send_signal,
    until,
)
from tests.support.server.process import ServerProcess

# Each process of the server imports it: the clock jumps by a day, forth and back, each time it is read.
JUMPING_CLOCK = """
import itertools, time
_time, _days = time.time, itertools.cycle([0, 86400, -86400])
time.time = lambda: _time() + next(_days)
"""


async def test_when_the_clock_jumps_no_request_is_late_or_lost(tmp_path: Path, model: FakeModel) -> None:
    (tmp_path / "sitecustomize.py").write_text(JUMPING_CLOCK, "utf-8")

    with ServerProcess(
        tmp_path / "server", {"models": [model.config], "workers": 2}, environment={"PYTHONPATH": str(tmp_path)}
    ) as hearth:
        await restarted(hearth, workers=2, engines=1)
        clients = Clients(hearth)
        clients.send(20, **{"x-request-timeout": "20"})
        answers = await clients.answers()
        restarts = metric_total(hearth, "hearth_restarts_total")

    assert [answer.status_code for answer in answers] == [200] * 20
    assert restarts == 0


async def test_a_pause_of_a_second_is_no_fault(start: Callable[..., ServerProcess], model: FakeModel) -> None:
    hearth = start(model, workers=2)
    clients = Clients(hearth)
    everything = [pid_of(hearth), *children(pid_of(hearth))]

    await hold(hearth, model, clients)
    clients.send(20)
    with paused(everything):
        await asyncio.sleep(1)  # as a machine that is short of processor time
    model.release()
    answers = await clients.answers()

    assert [answer.status_code for answer in answers] == [200] * 21
    assert metric_total(hearth, "hearth_restarts_total") == 0


async def test_an_engine_without_memory_answers_what_it_can(tmp_path: Path) -> None:
    # Free memory that the allocator keeps would serve the long texts.
    keeps_nothing = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    config = {"models": [{"path": demo_models()[0]}]}
    with ServerProcess(tmp_path / "server", config, environment=keeps_nothing) as hearth:
        [engine] = children(pid_of(hearth))
        short, long, after = Clients(hearth), Clients(hearth), Clients(hearth)

        short.send(1)
        await short.answers()
        _allow_no_more_memory(engine)
        long.send(4, "word " * 6000)
        long.send(4, "a b c")
        answers = await long.answers()
        await until(hearth, lambda: get_page(hearth, "/ready").status_code == 200)
        after.send(4)
        statuses = [answer.status_code for answer in await after.answers()]

    # Mostly some are refused; what the allocator had kept may serve all of them.
    assert {answer.status_code for answer in answers} <= {200, 500, 503}
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code != 200} <= {
        "out_of_memory",
        "engine_died",
        "unavailable",
    }
    assert statuses == [200] * 4


def _allow_no_more_memory(pid: int) -> None:
    used = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (used, used))


async def test_without_descriptors_requests_in_progress_are_answered_and_later_ones_too(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model)
    clients, after = Clients(hearth), Clients(hearth)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def descriptors() -> int:
        return len(list(Path(f"/proc/{pid_of(hearth)}/fd").iterdir()))

    await hold(hearth, model, clients)
    used = descriptors()
    resource.prlimit(pid_of(hearth), resource.RLIMIT_NOFILE, (used + 5, hard))
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(socket.create_connection(hearth.address, timeout=10))
        model.release()
        [answer] = await clients.answers()
    await until(hearth, lambda: descriptors() < used)
    after.send(5)
    answers = await after.answers()

    assert answer.status_code == 200
    assert [answer.status_code for answer in answers] == [200] * 5


def _clean_up(temporary: Path) -> None:
    [folder] = temporary.iterdir()
    shutil.rmtree(folder)


async def test_when_temporary_files_are_cleaned_up_it_goes_on(
    start: Callable[..., ServerProcess], model: FakeModel, temporary: Path
) -> None:
    hearth = start(model)
    clients, after = Clients(hearth), Clients(hearth)
    [engine] = children(pid_of(hearth))

    _clean_up(temporary)
    clients.send(5)
    answers = await clients.answers()
    send_signal([engine], signal.SIGKILL)
    await until(hearth, lambda: hearth.text().count("ready on") == 2)
    await until(hearth, lambda: get_page(hearth, "/ready").status_code == 200)
    after.send(5)
    answers += await after.answers()

    assert [answer.status_code for answer in answers] == [200] * 10


def test_a_model_that_is_gone_when_its_engine_dies_ends_the_command_with_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(demo_models()[0], folder)
    with ServerProcess(tmp_path / "server", {"models": [str(folder)]}) as hearth:
        shutil.rmtree(folder)
        send_signal(children(pid_of(hearth)), signal.SIGKILL)
        status = hearth.end()

    assert status == 2
    assert str(folder) in hearth.log[-1]
    assert "Traceback" not in hearth.text()
