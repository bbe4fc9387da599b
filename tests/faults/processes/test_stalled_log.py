"""A reader of the log that stalls: a collector that hangs, `docker logs` in blocking mode, a paused terminal."""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from models import demo_models
from tests.support.server.fake_models import (
    Clients,
    FakeModel,
    children,
    get_page,
    metric_total,
    pid_of,
    send_signal,
    until,
)
from tests.support.server.process import ServerProcess

# They make the lines of the log long, so that few requests fill the queue.
LONG_PATH, LONG_HEADER = "/" + "é" * 200, b"\xe9" * 128
REQUESTS = 1200


def _fill_log(hearth: ServerProcess) -> None:
    # As the server has it open, so that not even a short line fits.
    log = os.open(f"/proc/{pid_of(hearth)}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(log, b"\n")
    os.close(log)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_log_that_nobody_reads_costs_lines_and_no_answer(
    start: Callable[..., ServerProcess], model: FakeModel, workers: int
) -> None:
    hearth = start(model, workers=workers)
    clients = Clients(hearth)

    hearth.reads_log.clear()
    headers = {"x-forwarded-for": LONG_HEADER}
    statuses = {hearth.client.get(LONG_PATH, headers=headers).status_code for _ in range(REQUESTS)}
    clients.send(20)
    answers = await clients.answers()
    health = get_page(hearth, "/health").status_code
    dropped = metric_total(hearth, "hearth_log_lines_dropped_total")
    hearth.reads_log.set()
    await until(hearth, lambda: "log lines were dropped" in hearth.text())

    assert statuses == {404}
    assert [answer.status_code for answer in answers] == [200] * 20
    assert health == 200
    assert 0 < dropped < REQUESTS + 100
    assert hearth.stop() == 0
    assert hearth.text().endswith("stopped\n")


def test_a_log_that_nobody_reads_does_not_keep_a_server_that_must_end(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(demo_models()[0], folder)
    with ServerProcess(tmp_path / "server", {"models": [str(folder)]}) as hearth:
        hearth.reads_log.clear()
        _fill_log(hearth)
        shutil.rmtree(folder)
        send_signal(children(pid_of(hearth)), signal.SIGKILL)
        hearth.until(lambda: hearth._process.poll() is not None, timeout_s=30)

        assert hearth.stop() == 2
