"""With local models nothing leaves the machine, and nothing tries to: no connection, no name looked up."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.server.process import clean_environment
from tests.support.zoo.build import build
from tests.support.zoo.catalogue import ZOO

ROOT = Path(__file__).parents[3]
# Run by transformers and by sentence-transformers, beside the demo pair, which is packed.
BROUGHT = ("BAAI/bge-small-en-v1.5",)
# In strace's output: an address of the internet, in a connection or a datagram.
ADDRESS = re.compile(r'(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"')


def cannot_be_cut_off() -> str | None:
    """Why no namespace can be made here; None if one can."""
    if shutil.which("unshare") is None:
        return "there is no unshare here"
    tried = subprocess.run(["unshare", "-rn", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() or None if tried.returncode else None


NO_NAMESPACE = cannot_be_cut_off()
STRACE = shutil.which("strace")


@dataclass(frozen=True)
class Day:
    """What came of a day behind the air gap, and what the kernel was asked for meanwhile."""

    outcome: dict[str, Any]
    calls: str


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """One for all tests here."""
    workspace = tmp_path_factory.mktemp("airtight")
    folders = [str(build(recipe, workspace)) for recipe in ZOO if recipe.name in BROUGHT]
    calls = workspace / "calls"
    trace = [STRACE, "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(calls)]
    done = subprocess.run(
        [
            "unshare",
            "-rn",
            *(trace if STRACE else ()),
            sys.executable,
            "-m",
            "tests.support.http.offline_day",
            str(workspace),
            *folders,
        ],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Day(json.loads(done.stdout), calls.read_text("utf-8") if STRACE else "")


pytestmark = [
    pytest.mark.skipif(NO_NAMESPACE is not None, reason=f"no network namespace: {NO_NAMESPACE}"),
    pytest.mark.timeout(300),
]


def test_every_model_answers(day: Day) -> None:
    assert set(day.outcome["statuses"].values()) == {200}
    assert day.outcome["how"] == {
        "demo-embedding": "packed",
        "demo-reranker": "packed",
        "bge-small-en-v1.5": "encoder",
        "cached/bge-small-en-v1.5": "encoder",
        "bge-small-en-v1.5-by-the-library": "sentence_transformers",
    }


def test_every_model_can_be_checked_against_the_reference(day: Day) -> None:
    assert day.outcome["checks"] == [0, 0], day.outcome["log"]


def test_python_looks_up_no_name_and_connects_to_nothing(day: Day) -> None:
    assert [line for line in day.outcome["watched"] if "127.0.0.1" not in line] == ["watched look-up: localhost"]


@pytest.mark.skipif(STRACE is None, reason="needs strace")
def test_nor_does_any_library_below_it(day: Day) -> None:
    assert "connect(" in day.calls
    assert set(ADDRESS.findall(day.calls)) <= {"127.0.0.1", "::1"}
