"""The keys of a server that runs: their file breaks, and it is read again while requests are answered."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server.fake_models import Clients, FakeModel, until
from tests.support.server.process import ServerProcess

RELOADS = 30


def _missing(file: Path) -> None:
    assert not file.exists()


def _as_fifo(file: Path) -> None:
    os.mkfifo(file)


def _as_bytes(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00key\n")


def _as_comments(file: Path) -> None:
    file.write_text("# every key was taken out\n", "utf-8")


@pytest.mark.parametrize("break_file", [Path.mkdir, _as_fifo, _as_bytes, _as_comments, _missing])
async def test_keys_stay_when_their_file_is_broken(
    start: Callable[..., ServerProcess], model: FakeModel, tmp_path: Path, break_file: Callable[[Path], object]
) -> None:
    file = tmp_path / "keys"
    file.write_text("old\n", "utf-8")
    hearth = start(model, auth={"keys_file": str(file)})
    clients = Clients(hearth)

    file.unlink()
    break_file(file)
    hearth.reload()
    await asyncio.to_thread(hearth.wait_for, "the API keys are unchanged")
    clients.send(2, authorization="Bearer old")
    clients.send(2)
    clients.send(2, authorization="Bearer # every key was taken out")
    answers = await clients.answers()

    assert [answer.status_code for answer in answers] == [200, 200, 401, 401, 401, 401]


async def test_no_request_fails_while_keys_are_read_again_and_again(
    start: Callable[..., ServerProcess], model: FakeModel, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text("kept\n", "utf-8")
    hearth = start(model, workers=2, auth={"keys_file": str(file)})
    clients = Clients(hearth)

    for number in range(RELOADS):
        file.write_text(f"kept\nkey-{number}\n", "utf-8")
        hearth.reload()
        clients.send(2, authorization="Bearer kept")
        await asyncio.sleep(0.01)
    answers = await clients.answers()
    await until(hearth, lambda: "reloaded 2 API keys" in hearth.text())

    assert [answer.status_code for answer in answers] == [200] * 2 * RELOADS
