"""The hub, as `hearth pull` needs it: what a repository holds, and its files into a folder. Errors are sentences."""

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.checkpoint.files import ALLOWED, IGNORED, INDEX, WEIGHTS, is_outside, what_it_is
from models.checkpoint.folder import Checkpoint
from models.checkpoint.package import MINILM, SOURCE, find_in_package, is_installed, package_model_id, package_name
from models.interface import ModelError


@dataclass(frozen=True, slots=True)
class Repository:
    """One revision of a repository."""

    id: str
    revision: str
    checksums: Mapping[str, str | None]
    """Every file's name, with its SHA-256 where the hub knows it: of large files."""

    def check(self) -> None:
        """Fail before anything is downloaded that could not be served.

        Raises: ModelError: no weights in safetensors.
        """
        if not {INDEX, WEIGHTS} & self.checksums.keys():
            clause = what_it_is(self.checksums.keys()) or f"missing: {WEIGHTS}"
            raise ModelError(f"{self.id} holds no model that can be served; {clause}")


def look_up(source: str, revision: str | None) -> Repository:
    """What a repository holds at a revision; by default its newest.

    Raises: ModelError.
    """
    from huggingface_hub import HfApi  # 0.4 s to import

    with _sentences(source):
        found = HfApi().model_info(source, revision=revision, files_metadata=True)
    files = {file.rfilename: file.lfs.sha256 if file.lfs else None for file in found.siblings or ()}
    # A mirror may list anything, and weights are fetched by the names that an index gives.
    if outside := [name for name in files if is_outside(name)]:
        raise ModelError(f"{source} lists a file outside of its folder: {outside[0]!r}")
    return Repository(source, str(found.sha), files)


def fetch(repository: Repository, names: Sequence[str], folder: Path) -> None:
    """Download files into a folder; what a broken-off attempt left is used.

    Raises: ModelError.
    """
    from huggingface_hub import snapshot_download

    wanted = [glob.escape(name) for name in names]
    with _sentences(repository.id):
        snapshot_download(repository.id, revision=repository.revision, local_dir=folder, allow_patterns=wanted)


def cached(source: str, revision: str | None = None) -> Path | None:
    """The folder of the hub's local cache that holds a model, all or a part of it. Asks nobody."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                source, revision=revision, allow_patterns=ALLOWED, ignore_patterns=IGNORED, local_files_only=True
            )
        )
    except LocalEntryNotFoundError:
        return None


def fetch_into_cache(source: str, revision: str | None = None) -> Path:
    """Download a revision of a model, by default the newest, into the hub's local cache.

    Raises: ModelError.
    """
    from huggingface_hub import snapshot_download

    look_up(source, revision).check()
    with _sentences(source):
        return Path(snapshot_download(source, revision=revision, allow_patterns=ALLOWED, ignore_patterns=IGNORED))


@contextmanager
def _sentences(source: str) -> Iterator[None]:
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,  # of the HTTP library that this version of huggingface_hub uses
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise ModelError(f"accept this model's terms on its page, then set HF_TOKEN to your token: {source}") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"the hub has no such model, or shows it only with a token in HF_TOKEN: {source}") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"the hub has no such revision of this model: {source}") from error
    except (HTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"{source} could not be downloaded, run the command again to go on: {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


DEMO = Path(__file__).parents[1] / "demo"
DEMO_NAMES = ("demo-embedding", "demo-reranker")
TOKENIZERS = ("tokenizer.json", "tiktoken.model")

_CACHE_FOLDER = re.compile(r"models--([^/]+)/snapshots/([^/]+)/?$")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def demo_models() -> tuple[str, ...]:
    """The folders of the built-in pair, which needs no download: an embedder and a reranker."""
    return tuple(str(DEMO / name) for name in DEMO_NAMES)


def default_models() -> tuple[str, ...]:
    """The sources that are served when nothing is configured: all-MiniLM-L6-v2 if installed, then the demo pair."""
    minilm = (SOURCE + MINILM,) if is_installed(MINILM) else ()
    return (*minilm, *demo_models())


def find_checkpoint(source: str, revision: str | None = None) -> Path:
    """The folder that holds a model.

    Args:
        source: a path, a hub id such as Qwen/Qwen3-Embedding-0.6B, or `package:NAME` for an installed Python package.
        revision: a commit, tag or branch of a hub id; None takes what the cache has, else the newest.

    Raises: ModelError: no such folder or package, not in the cache and not to be downloaded, a revision of a folder.
    """
    if (package := package_name(source)) is not None:
        if revision is not None:
            raise ModelError(f"{source} is a package, and only a hub id has a revision: {revision}")
        return find_in_package(package)
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"{source} is a folder, and only a hub id has a revision: {revision}")
        return folder
    if folder.is_symlink():
        raise ModelError(f"{source} is a link to a folder that is not there: {folder.readlink()}")
    if folder.exists():
        raise ModelError(f"{source} is a file; a model is a folder of config.json, tokenizer.json and *.safetensors")
    if not is_repository(source):
        raise ModelError(f"no such model folder: {source}")
    return _from_hub(source, revision)


def is_repository(source: str) -> bool:
    """Whether it is no folder here, and can be a hub id."""
    folder = Path(source).expanduser()
    is_path = folder.exists() or folder.is_absolute() or source.startswith((".", "~"))
    return not is_path and bool(_REPOSITORY.fullmatch(source))


def is_offline() -> bool:
    """Whether the operator forbids any look-up (HF_HUB_OFFLINE)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def revision_of(folder: Path) -> str | None:
    """The commit of a hub-cache folder; None of any other."""
    cached = _CACHE_FOLDER.search(str(folder))
    return cached.group(2) if cached else None


def model_id(source: str) -> str:
    """The id a model is served under when the configuration gives none.

    The repository id of a hub id, of a hub-cache path or of a known package; the name of another package; else the
    folder's name.
    """
    if (package := package_name(source)) is not None:
        return package_model_id(package)
    if cached := _CACHE_FOLDER.search(source):
        return cached.group(1).replace("--", "/")
    return source if is_repository(source) else Path(source).expanduser().resolve().name


def _from_hub(repository: str, revision: str | None) -> Path:
    folder = cached(repository, revision)
    if folder is not None and _is_whole(folder):
        return folder
    if is_offline():
        named = repository if revision is None else f"{repository} at {revision}"
        raise ModelError(f"HF_HUB_OFFLINE is set, and the local cache has no such model: {named}")
    return fetch_into_cache(repository, revision)


def _is_whole(folder: Path) -> bool:
    # A download that was interrupted leaves a snapshot that lacks files: it must go on, not fail for ever.
    try:
        return bool(Checkpoint(folder).weight_files) and any((folder / name).is_file() for name in TOKENIZERS)
    except ModelError:
        return False
