"""docs/architecture.md: its tree, its paths and the names after a colon are those of the source."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from docs.generate.architecture import tree
from docs.generate.page import filled
from tests.support.docs import DOCS
from tests.unit.test_import_order import MODELS_FLOORS, SERVER_FLOORS

ROOT = DOCS.parent
PAGE = (DOCS / "architecture.md").read_text("utf-8")
# `path.py:name` or `path.py:Class.method`.
NAMES = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", PAGE)))
PATHS = sorted(set(re.findall(r"`((?:server|models|tests|docs|benchmarks|deploy)/[\w./-]*)[`:]", PAGE)))


def _defined(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Names that are defined at the top of a body, with the bodies of classes."""
    names = dict[str, list[ast.stmt]]()
    for node in body:
        match node:
            case ast.ClassDef():
                names[node.name] = node.body
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names[node.name] = []
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names[name] = []
    return names


@cache
def _source(file: str) -> list[ast.stmt]:
    return ast.parse((ROOT / file).read_text("utf-8")).body


def test_the_tree_has_every_folder_with_its_own_sentence() -> None:
    assert filled(PAGE, {"tree": tree()}) == PAGE, "run: make docs"


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(("file", "name"), NAMES)
def test_every_name_is_defined_in_its_file(file: str, name: str) -> None:
    body = _source(file)
    for part in name.split("."):
        definitions = _defined(body)
        assert part in definitions, f"{file} does not define {name}"
        body = definitions[part]


@pytest.mark.parametrize(("column", "floors"), [(0, SERVER_FLOORS[:-1]), (1, MODELS_FLOORS[:-1])])
def test_the_floors_are_those_that_imports_are_checked_by(column: int, floors: tuple[tuple[str, ...], ...]) -> None:
    rows = PAGE.split("|---|---|\n")[2].split("\n\n")[0].splitlines()

    cells = [row.strip("| ").split(" | ")[column] for row in reversed(rows)]

    # The ground floor of server/ is the package itself, too; the top row of models/ is its public names.
    modules = [{name.partition(".")[2] for name in floor} - {""} for floor in floors]
    assert [set(cell.split(", ")) for cell in cells[: len(modules)]] == modules


def test_the_page_names_enough_to_be_a_map() -> None:
    assert len(NAMES) > 40
    assert {Path(path).parts[0] for path in PATHS} >= {"server", "models", "tests", "docs", "benchmarks"}
