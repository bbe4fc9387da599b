"""A `hearth serve` process, started as a user would start it, and its log."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.http.openapi_schema import Document

HEARTH = Path(sys.executable).with_name("hearth")
ADDRESS = re.compile(r"listens on (http://\S+)")

# No hub, one core, and no OpenAI vocabulary that happens to be on this machine.
ISOLATED = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TIKTOKEN_CACHE_DIR": ""}


class ServerProcess:
    """A running server. A thread reads its log, so that the process never waits on a full pipe."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any] | None = None,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        """Start a server in `folder` on a free port. `config` becomes its config.yaml; None writes no file.

        `wrapper` is a command that ends by running the one behind it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if config is not None:
            (folder / "config.yaml").write_text(json.dumps(config), "utf-8")
        self.log: list[str] = []
        # While it is not set, nobody reads the log.
        self.reads_log = threading.Event()
        self.reads_log.set()
        self._ended = False
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [*wrapper, HEARTH, "serve", "--port", "0", *arguments],
            cwd=folder,
            env=clean_environment() | ISOLATED | dict(environment or {}),
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        """Wait until the server answers requests."""
        try:
            self.url = ADDRESS.search(self.wait_for("listens on"))[1]
            # Every answer to this client must match /openapi.json.
            hooks = {"response": [Document().check]}
            self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False, event_hooks=hooks)
            self.wait_for("ready on")
            # The HTTP processes learn of it a moment after the log line.
            self.until(lambda: self.client.get("/ready").status_code == 200)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.client.close()
        self.stop()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for a plain socket."""
        url = httpx.URL(self.url)
        return url.host, url.port

    def wait_for(self, text: str, timeout_s: float = 60) -> str:
        """Wait for a line of the log that contains `text`, and return it."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._find(text), timeout_s)
            line = self._find(text)
        assert line, f"the log has no line with {text!r}:\n{self.text()}"
        return line

    def until(self, happened: Callable[[], object], timeout_s: float = 60) -> None:
        """Poll until `happened()` is true: for states that no log line announces."""
        end = monotonic() + timeout_s
        while not happened():
            assert monotonic() < end, f"the condition never became true:\n{self.text()}"

    def text(self) -> str:
        """The whole log so far."""
        return "".join(self.log)

    def terminate(self) -> None:
        """Send SIGTERM, as a supervisor does."""
        self._process.send_signal(signal.SIGTERM)

    def reload(self) -> None:
        """Send SIGHUP, so that the server reads its keys again."""
        self._process.send_signal(signal.SIGHUP)

    def end(self, timeout_s: float = 30) -> int:
        """Wait until the server has ended, and return its exit status."""
        try:
            status = self._process.wait(timeout_s)
        finally:
            self._process.kill()
        self._reader.join(timeout_s)
        self._process.stderr.close()
        return status

    def stop(self) -> int:
        """Terminate the server and return its exit status."""
        self.reads_log.set()
        self.terminate()
        return self.end()

    def _find(self, text: str) -> str | None:
        return next((line for line in self.log if text in line), None)

    def _read(self) -> None:
        for line in self._process.stderr:
            self.reads_log.wait()
            with self._changed:
                self.log.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def clean_environment() -> dict[str, str]:
    """The environment of this process without HEARTH_ variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEARTH_")}
