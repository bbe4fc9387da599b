"""Keeping a process running."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from server.launch import supervisor
from server.launch.engine_process import CANNOT_LOAD
from server.launch.supervisor import GaveUp, Supervised
from server.observability.metrics import Metrics
from tests.support.server.child_processes import EndsItsReader, fail, fall_over, give_up, wait_for_ever
from tests.support.server.in_process import until


def _starts(folder: Path) -> int:
    return len(list(folder.iterdir()))


async def test_a_process_that_ends_is_started_again_and_ended_when_nobody_wants_it(tmp_path: Path) -> None:
    keeping = Supervised("test", wait_for_ever, tmp_path, metrics=Metrics())
    task = asyncio.create_task(keeping.keep())
    await until(lambda: _starts(tmp_path) == 1)

    assert keeping.pid
    os.kill(keeping.pid, signal.SIGKILL)
    await until(lambda: _starts(tmp_path) == 2)
    last = keeping.pid
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert last
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


async def test_one_that_cannot_load_is_given_up_with_its_sentence() -> None:
    with pytest.raises(GaveUp, match="its weights are damaged"):
        await Supervised("test", give_up, CANNOT_LOAD, metrics=Metrics()).keep()


async def test_one_that_ends_again_and_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_WAIT_S", 0)
    monkeypatch.setattr(supervisor, "MAX_ENDS", 2)

    with pytest.raises(GaveUp, match="2 times within 60 s"):
        await Supervised("test", fall_over, tmp_path, metrics=Metrics()).keep()

    assert _starts(tmp_path) == 2


async def test_one_that_fails_again_and_again_is_given_up_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_WAIT_S", 0)
    monkeypatch.setattr(supervisor, "MAX_ENDS", 2)

    with pytest.raises(GaveUp, match="2 times within 60 s: OSError: the disk is full"):
        await Supervised("test", fail, metrics=Metrics()).keep()


async def test_one_that_ends_before_it_has_read_its_arguments_does_not_keep_its_parent_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_WAIT_S", 0)
    monkeypatch.setattr(supervisor, "MAX_ENDS", 2)
    more_than_a_pipe_holds = bytes(2**20)

    with pytest.raises(GaveUp, match="2 times within 60 s"):
        await Supervised("test", fail, EndsItsReader(), more_than_a_pipe_holds, metrics=Metrics()).keep()
