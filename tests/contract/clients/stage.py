"""Where the programs run: a live server with the demo pair and a key, and two fronts that are busy and slow."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models import demo_models
from tests.contract.clients.families import HERE, ROOT, Family
from tests.contract.clients.fronts import busy_url, slow_url
from tests.contract.process import Hearth

KEY = "key-of-the-clients"
LONGEST_RUN_S = 300
# They read address books and prices, or tell their makers of each use.
QUIET = {
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """Running servers."""

    url: str
    busy_url: str
    slow_url: str

    def run(self, family: Family) -> "subprocess.CompletedProcess[str]":
        """A family's program, to its end.

        Raises: TimeoutExpired: it took too long.
        """
        return subprocess.run(
            family.command(),
            cwd=family.environment,
            env=_outside() | self._told(),
            capture_output=True,
            text=True,
            timeout=LONGEST_RUN_S,
            check=False,
        )

    def _told(self) -> dict[str, str]:
        embedder, reranker = (Path(path).name for path in demo_models())
        return {
            "HEARTH_URL": self.url,
            "HEARTH_KEY": KEY,
            "HEARTH_EMBEDDER": embedder,
            "HEARTH_RERANKER": reranker,
            "HEARTH_BUSY_URL": self.busy_url,
            "HEARTH_SLOW_URL": self.slow_url,
            "HEARTH_CLIENTS_PAGE": str(ROOT / "docs" / "clients.md"),
            "HEARTH_CLIENTS_KIT": str(HERE / "kit"),
            "PYTHONPATH": str(HERE / "kit"),
            **QUIET,
        }


@contextmanager
def running_stage() -> Iterator[Stage]:
    """Servers that end with the block."""
    models = [{"path": path, "dtype": "float32"} for path in demo_models()]
    config = {"models": models, "auth": {"keys": [KEY]}}
    with (
        tempfile.TemporaryDirectory() as folder,
        Hearth(Path(folder), config) as hearth,
        busy_url(config) as busy,
        slow_url(config) as slow,
    ):
        yield Stage(hearth.url, busy, slow)


def _outside() -> dict[str, str]:
    # A proxy would come between a client and the server; a key of the user's is not for us.
    hidden = ("_PROXY", "_API_KEY", "_TOKEN")
    return {name: value for name, value in os.environ.items() if not name.upper().endswith(hidden)}
