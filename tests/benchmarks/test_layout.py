"""The folders of benchmarks/: no test helpers inside, and few enough files to find one's way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MAX_FILES = 12


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


@pytest.mark.parametrize("file", sorted(BENCHMARKS.rglob("*.py")), ids=lambda file: str(file.relative_to(BENCHMARKS)))
def test_benchmarks_import_no_tests(file: Path) -> None:
    assert not [name for name in _imported(file) if name.split(".")[0] == "tests"]


def test_a_folder_has_at_most_twelve_modules() -> None:
    folders = {file.parent for file in BENCHMARKS.rglob("*.py")}

    assert {folder.name for folder in folders if len(list(folder.glob("*.py"))) > MAX_FILES} == set()
