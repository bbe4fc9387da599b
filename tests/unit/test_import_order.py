"""Who may import whom (DESIGN: layout)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = sorted((ROOT / "server").rglob("*.py"))
MODELS = sorted(path for path in (ROOT / "models").rglob("*.py"))
HEAVY = {"torch", "transformers", "sentence_transformers"}


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", SERVER, ids=_name)
def test_server_imports_models_through_its_door_alone(file: Path) -> None:
    assert not [name for name in _imported(file) if name.startswith("models.")]


@pytest.mark.parametrize("file", SERVER, ids=_name)
def test_server_never_imports_a_heavy_library(file: Path) -> None:
    assert not {name.split(".")[0] for name in _imported(file)} & HEAVY


@pytest.mark.parametrize("file", MODELS, ids=_name)
def test_models_knows_nothing_of_the_server_or_of_http(file: Path) -> None:
    roots = {name.split(".")[0] for name in _imported(file)}

    assert not roots & {"server", "fastapi", "starlette", "uvicorn", "asyncio", "pydantic", "zmq"}


@pytest.mark.parametrize(
    "module", ["server.cli.main", "server.api.app", "server.launch.serve", "server.launch.http_worker", "models"]
)
def test_importing_the_server_imports_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.strip() == ""
