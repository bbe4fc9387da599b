"""What keeps the folders of docs/architecture.md readable: size, one sentence each, and one meaning for each name."""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_FILES = 12
FOLDERS = sorted(
    {file.parent for top in ("server", "models", "tests", "benchmarks", "docs") for file in (ROOT / top).rglob("*.py")}
)
PACKAGES = [folder for folder in FOLDERS if folder.relative_to(ROOT).parts[0] in ("server", "models")]
# A backend has a function load, a module its own logger; JsonObject is one alias in each of the two packages.
SAME_BY_DESIGN = {"log", "load", "main", "JsonObject", "__all__"}


def _name(folder: Path) -> str:
    return str(folder.relative_to(ROOT))


def _public_names(file: Path) -> Iterator[str]:
    for node in ast.parse(file.read_text("utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_a_folder_has_a_dozen_files_at_most(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MAX_FILES


@pytest.mark.parametrize("folder", PACKAGES, ids=_name)
def test_a_folder_is_one_concern_in_one_sentence(folder: Path) -> None:
    sentence = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""

    assert sentence.split("\n")[0].endswith(".")


def test_a_public_name_is_defined_once() -> None:
    modules = [file for top in ("server", "models") for file in (ROOT / top).rglob("*.py") if "demo" not in file.parts]
    defined: defaultdict[str, list[str]] = defaultdict(list)
    for file in modules:
        for name in Counter(_public_names(file)):
            if not name.startswith("_") and name not in SAME_BY_DESIGN:
                defined[name].append(_name(file))

    # A command of server/cli is named as what it runs.
    twice = {name: [file for file in files if "server/cli" not in file] for name, files in defined.items()}
    assert not {name: files for name, files in twice.items() if len(files) > 1}
