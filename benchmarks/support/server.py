"""A `hearth serve` process for a benchmark: started on a free port in a temporary folder, stopped at the end."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from benchmarks.support.client import Address
from models import demo_models

HEARTH = Path(sys.executable).with_name("hearth")
START_TIMEOUT_S = 120
# Longer than a server may drain.
STOP_TIMEOUT_S = 90
POLL_S = 0.05


class ServerProcess:
    """A running server and its process ids; `folder` has its temporary files."""

    def __init__(self, process: subprocess.Popen[bytes], address: Address, folder: Path) -> None:
        self.address = address
        self.folder = folder
        self.pid = process.pid

    def children(self) -> list[int]:
        """Ids of the processes that the server started, oldest first, without multiprocessing's resource tracker."""
        pids = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()
        own = [int(pid) for pid in pids if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return sorted(own, key=_started_at)  # not by their ids, which begin anew


def _started_at(pid: int) -> int:
    """When a process started, in clock ticks since the machine did: field 22 of proc(5), and 20th after the name."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[19])
    return sys.maxsize


class FakeModel:
    """A model folder with the demo embedder's tokenizer and no network; its batches can be held back.

    `faults` are those of models/backends/fake.py.
    """

    def __init__(self, folder: Path, **faults: Any) -> None:
        folder.mkdir(parents=True)
        for file in Path(demo_models()[0]).iterdir():
            (folder / file.name).symlink_to(file)
        (folder / "fake.json").write_text(json.dumps(faults), "utf-8")
        self._hold = folder / "hold"
        self.config = {"path": str(folder), "id": "fake", "backend": "fake"}

    def hold(self) -> None:
        """Keep the next batch running until release()."""
        self._hold.touch()

    def release(self) -> None:
        """Let held batches end."""
        self._hold.unlink(missing_ok=True)


@contextmanager
def serve(
    config: Mapping[str, Any] | None = None, stderr: int | None = None, **environment: str
) -> Iterator[ServerProcess]:
    """Run a server that is ready to answer; without `config` it serves what is served with no config.yaml.

    Its log goes to the descriptor `stderr`, or else to a file that is shown when the server does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        if config is not None:
            Path(folder, "config.yaml").write_text(json.dumps(config), "utf-8")
        log = Path(folder, "log")
        address = "127.0.0.1", _free_port()
        with log.open("wb") as log_file:
            process = subprocess.Popen(
                [HEARTH, "serve", "--port", str(address[1])],
                cwd=folder,
                env=_without_settings(os.environ)
                | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TMPDIR": folder}
                | environment,
                stderr=log_file if stderr is None else stderr,
            )
        try:
            _wait_until_ready(process, address, log)
            yield ServerProcess(process, address, Path(folder))
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("HEARTH_")}


def _wait_until_ready(process: subprocess.Popen[bytes], address: Address, log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while not _is_ready(address):
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the server did not start:\n{log.read_text('utf-8', 'replace')}")
        time.sleep(POLL_S)


def _is_ready(address: Address) -> bool:
    with suppress(OSError, HTTPException):
        connection = HTTPConnection(*address, timeout=5)
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    finally:
        process.kill()
