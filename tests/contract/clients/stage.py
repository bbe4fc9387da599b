"""Where the programs run: a live server with the demo pair and a key, one that can read OpenAI's ids, one that is busy
and one that is slow."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from models import demo_models
from tests.contract.clients.families import HERE, ROOT, Family, find_vocabulary
from tests.contract.clients.fronts import busy_url, slow_url
from tests.support.server.process import ServerProcess

KEY = "key-of-the-clients"
LONGEST_RUN_S = 300
# They read address books and prices, or tell their makers of each use.
QUIET = {
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """Running servers."""

    url: str
    """The demo pair, with a key."""
    reading_url: str
    """The same where cl100k_base is at hand, and once more as `openai`, which reads all ids with it; empty if that
    vocabulary, or tiktoken, is nowhere on this machine."""
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
            "HEARTH_READING_URL": self.reading_url,
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
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hearth = stack.enter_context(ServerProcess(folder / "plain", config))
        reading_url = ""
        if (vocabulary := find_vocabulary()) and find_spec("tiktoken"):
            openai = models[0] | {"id": "openai", "token_ids": "cl100k_base"}
            environment = {"TIKTOKEN_CACHE_DIR": str(vocabulary)}
            reading = ServerProcess(folder / "reading", config | {"models": [*models, openai]}, environment=environment)
            reading_url = stack.enter_context(reading).url
        busy, slow = stack.enter_context(busy_url(config)), stack.enter_context(slow_url(config))
        yield Stage(hearth.url, reading_url, busy, slow)


def _outside() -> dict[str, str]:
    # A proxy would come between a client and the server; a key of the user's is not for us.
    hidden = ("_PROXY", "_API_KEY", "_TOKEN")
    outside = {name: value for name, value in os.environ.items() if not name.upper().endswith(hidden)}
    # With it LangChain's default needs no download.
    return outside | {"TIKTOKEN_CACHE_DIR": str(find_vocabulary() or "")}
