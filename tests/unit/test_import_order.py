"""Who may import whom: the floors of docs/architecture.md. Imports go down, and never in a circle."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "sentence_transformers"}
# From the ground up. A module may import from its own floor and from those below it.
SERVER_FLOORS = (
    (
        "server",
        "server.config",
        "server.config_errors",
        "server.config_file",
        "server.config_sources",
        "server.errors",
        "server.serialization",
        "server.shared_memory",
    ),
    ("server.engine", "server.registry"),
    ("server.observability",),
    ("server.processing",),
    ("server.api",),
    ("server.launch",),
    ("server.cli",),
    ("server.__main__",),
)
MODELS_FLOORS = (
    ("models.cores", "models.interface", "models.memory"),
    (
        "models.checkpoint",
        "models.chunking",
        "models.devices",
        "models.packing",
        "models.postprocess",
        "models.prefix_trie",
    ),
    ("models.cuda", "models.dequantization", "models.layers", "models.text"),
    ("models.networks",),
    ("models.backends", "models.loading", "models.outputs"),
    ("models.conversion", "models.verify"),
    ("models",),
)


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _sources(package: str) -> list[Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    # The scripts that train the demo pair are a program of their own.
    return [file for file in files if "demo" not in file.parts]


SERVER, MODELS = _sources("server"), _sources("models")
MODULES = {_module(file) for file in (*SERVER, *MODELS)}


def _imported(file: Path) -> Iterator[str]:
    """Modules that a file imports, at its top or within a function."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or "."
            names = [f"{module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else module for name in names)


def _floor(module: str, floors: tuple[tuple[str, ...], ...]) -> int:
    street = ".".join(module.split(".")[:2])
    return next(number for number, streets in enumerate(floors) if street in streets)


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize(
    ("file", "floors"),
    [*((file, SERVER_FLOORS) for file in SERVER), *((file, MODELS_FLOORS) for file in MODELS)],
    ids=[_name(file) for file in (*SERVER, *MODELS)],
)
def test_imports_go_down(file: Path, floors: tuple[tuple[str, ...], ...]) -> None:
    own = _module(file)
    package = own.split(".")[0]
    imported = [name for name in _imported(file) if name.split(".")[0] == package and name in MODULES]

    up = [name for name in imported if _floor(name, floors) > _floor(own, floors)]

    assert not up, f"{own} imports from a floor above its own"


@pytest.mark.parametrize("package", ["server", "models"])
def test_no_import_goes_round_in_a_circle(package: str) -> None:
    graph = {
        _module(file): {name for name in _imported(file) if name in MODULES and name.startswith(package)}
        for file in _sources(package)
    }

    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("file", SERVER, ids=_name)
def test_the_server_knows_the_public_names_of_models_alone(file: Path) -> None:
    assert not [name for name in _imported(file) if name.startswith("models.")]


@pytest.mark.parametrize("file", SERVER, ids=_name)
def test_the_server_imports_no_heavy_library(file: Path) -> None:
    assert not {name.split(".")[0] for name in _imported(file)} & HEAVY


@pytest.mark.parametrize("file", MODELS, ids=_name)
def test_models_knows_nothing_of_the_server_or_of_http(file: Path) -> None:
    packages = {name.split(".")[0] for name in _imported(file)}

    assert not packages & {"server", "fastapi", "starlette", "uvicorn", "asyncio", "pydantic", "zmq"}


@pytest.mark.parametrize(
    "module", ["server.cli.main", "server.api.app", "server.launch.serve", "server.launch.http_worker", "models"]
)
def test_importing_the_server_imports_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.strip() == ""


def test_triton_comes_in_with_the_kernels_alone() -> None:
    kernels = {"models.cuda.attention_kernel", "models.cuda.elementwise", "models.cuda.triton_kernels"}
    imported = {_module(file): set(_imported(file)) for file in MODELS}

    assert {name for name, names in imported.items() if any(n.split(".")[0] == "triton" for n in names)} == kernels
    # choice.load_kernels() does, once there is a CUDA device.
    assert {name for name, names in imported.items() if names & kernels} - kernels == {"models.cuda.choice"}
