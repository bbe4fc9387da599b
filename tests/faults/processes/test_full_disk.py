"""A disk for temporary files that is full, or that cannot be written to."""

import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.server.fake_models import (
    Clients,
    FakeModel,
    children,
    get_page,
    hold,
    metric_total,
    pid_of,
    queued,
    restarted,
    send_signal,
)
from tests.support.server.process import ServerProcess

# A mount that only this process and its children see.
OWN_MOUNTS = ("unshare", "--user", "--map-root-user", "--mount", "--propagation", "private")


def _with_mount(script: str) -> tuple[str, ...]:
    return (*OWN_MOUNTS, "sh", "-c", f'{script}; exec "$@"', "sh")


def _may_mount() -> bool:
    with suppress(FileNotFoundError):
        return (
            subprocess.run([*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode == 0
        )
    return False


pytestmark = pytest.mark.skipif(not _may_mount(), reason="this user may not mount file systems")


def _fill(hearth: ServerProcess, folder: Path) -> None:
    # As the server sees the folder, with its mount.
    with suppress(OSError), Path(f"/proc/{pid_of(hearth)}/root{folder}/fill").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_temporary_folder_that_fills_up_costs_no_answer(
    tmp_path: Path, temporary: Path, model: FakeModel, workers: int
) -> None:
    server = ServerProcess(
        tmp_path / "server",
        {"models": [model.config], "workers": workers},
        environment={"TMPDIR": str(temporary)},
        wrapper=_with_mount(f"mount -t tmpfs -o size=1m tmpfs {temporary}"),
    )
    with server as hearth:
        clients = Clients(hearth)
        _fill(hearth, temporary)

        # Labels that nobody has used yet, and more requests at once than a memory page of 4 KiB names.
        statuses = [get_page(hearth, path).status_code for path in ("/v1/models", "/nope", "/openapi.json", "/health")]
        await hold(hearth, model, clients)
        clients.send(400)
        await queued(hearth, 400)
        model.release()
        answers = await clients.answers()
        engine, *_ = children(pid_of(hearth))
        send_signal([engine], signal.SIGKILL)
        await restarted(hearth, workers)
        clients.send(1)
        answers = await clients.answers()

        assert statuses == [200, 404, 200, 200]
        assert {answer.status_code for answer in answers} == {200}
        assert metric_total(hearth, 'hearth_requests_total{route="/v1/embeddings",status="200"}') == 402
