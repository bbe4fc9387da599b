"""What the processes of a server inherit: not the keys, and no folder that must still be there."""

import json
import signal
from pathlib import Path

import pytest

from tests.support.server.fake_models import Clients, FakeModel, children, pid_of, restarted, send_signal
from tests.support.server.process import ServerProcess

SECRET = "sk-in-the-environment"


def _environments(pids: list[int]) -> list[bytes]:
    return [Path(f"/proc/{pid}/environ").read_bytes() for pid in pids]


@pytest.mark.parametrize(
    ("name", "value"),
    [("HEARTH_AUTH__KEYS", json.dumps([SECRET])), ("HEARTH_AUTH", json.dumps({"keys": [SECRET]}))],
    ids=["list", "section"],  # pytest puts the name of a test into the environment
)
async def test_a_key_from_the_environment_reaches_no_child_process(
    tmp_path: Path, model: FakeModel, name: str, value: str
) -> None:
    config = {"models": [model.config], "workers": 2}
    with ServerProcess(tmp_path / "server", config, environment={name: value}) as hearth:
        clients = Clients(hearth)

        environments = _environments(children(pid_of(hearth)))
        clients.send(4, authorization=f"Bearer {SECRET}")
        clients.send(4)
        answers = await clients.answers()

        assert [SECRET.encode() in environment for environment in environments] == [False] * 3
        assert [answer.status_code for answer in answers] == [200] * 4 + [401] * 4


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_engine_comes_back_after_the_folder_of_the_start_was_removed(
    tmp_path: Path, model: FakeModel, workers: int
) -> None:
    folder = tmp_path / "release-1"
    with ServerProcess(folder, {"models": [model.config], "workers": workers}) as hearth:
        clients = Clients(hearth)
        engine, *_ = children(pid_of(hearth))

        (folder / "config.yaml").unlink()
        folder.rmdir()
        send_signal([engine], signal.SIGKILL)
        await restarted(hearth, workers)
        clients.send(4)
        answers = await clients.answers()

        assert [answer.status_code for answer in answers] == [200] * 4
