"""Finds the folder of a model, and downloads models from the Hugging Face hub."""

import glob
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from time import perf_counter

from models.checkpoint.files import ALLOWED, IGNORED, INDEX, WEIGHTS, explain_missing_weights, quoted, why_no_place
from models.checkpoint.folder import Checkpoint
from models.checkpoint.formats.gguf import SUFFIX, find_gguf
from models.checkpoint.package import MINILM, SOURCE, find_in_package, is_installed, package_model_id, package_name
from models.checkpoint.published_models import HUB_IDS
from models.interface import ModelError

log = logging.getLogger("hearth.models")

DEMO = Path(__file__).parents[1] / "demo"
DEMO_NAMES = ("demo-embedding", "demo-reranker")
MINILM_ID = package_model_id(MINILM)
MINILM_NAME = MINILM_ID.rsplit("/", 1)[-1]
TOKENIZERS = ("tokenizer.json", "tiktoken.model")

_CACHE_FOLDER = re.compile(r"models--([^/]+)/snapshots/([^/]+)/?$")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Repository:
    """One revision of a repository."""

    id: str
    revision: str
    checksums: Mapping[str, str | None]
    """SHA-256 by file name; None for small files, whose checksum the hub does not know."""

    def check(self) -> None:
        """Refuse a repository without safetensors weights, before anything is downloaded.

        Raises: ModelError.
        """
        if not {INDEX, WEIGHTS} & self.checksums.keys():
            clause = explain_missing_weights(self.checksums.keys()) or f"missing: {WEIGHTS}"
            raise ModelError(f"{self.id} holds no model that can be served; {clause}")


def look_up(source: str, revision: str | None) -> Repository:
    """List the files of a repository at a revision, by default the newest.

    Raises: ModelError.
    """
    from huggingface_hub import HfApi  # 0.4 s to import

    with _readable_errors(source):
        info = HfApi().model_info(source, revision=revision, files_metadata=True)
    files = {file.rfilename: file.lfs.sha256 if file.lfs else None for file in info.siblings or ()}
    # A mirror may list any name, and files are written under these names.
    for name in files:
        if reason := why_no_place(name):
            raise ModelError(f"{source} lists a file {reason}: {quoted(name)}")
    return Repository(source, str(info.sha), files)


def fetch(repository: Repository, names: Sequence[str], folder: Path) -> None:
    """Download files into a folder, resuming an interrupted attempt.

    Raises: ModelError.
    """
    from huggingface_hub import snapshot_download

    patterns = [glob.escape(name) for name in names]
    with _readable_errors(repository.id):
        snapshot_download(repository.id, revision=repository.revision, local_dir=folder, allow_patterns=patterns)


def cached(source: str, revision: str | None = None) -> Path | None:
    """The folder of a model in the hub's local cache, complete or not; None if there is none. No network."""
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
    log.info("%s: downloading from the hub into the local cache", source)
    started = perf_counter()
    with _readable_errors(source):
        folder = snapshot_download(source, revision=revision, allow_patterns=ALLOWED, ignore_patterns=IGNORED)
    log.info("%s: downloaded in %.0f s", source, perf_counter() - started)
    return Path(folder)


@contextmanager
def _readable_errors(source: str) -> Iterator[None]:
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
        raise ModelError(f"{source} is gated; accept its terms on its page, then set HF_TOKEN to your token") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{source} was not found on the hub; if it is private, set HF_TOKEN to your token") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{source} has no such revision on the hub") from error
    except (HTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"{source} could not be downloaded; run the command again: {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def demo_models() -> tuple[str, ...]:
    """The folders of the built-in embedder and reranker, which need no download."""
    return tuple(str(DEMO / name) for name in DEMO_NAMES)


def default_models() -> tuple[str, ...]:
    """The sources that are served when nothing is configured: all-MiniLM-L6-v2 if installed, then the demo pair."""
    minilm = (SOURCE + MINILM,) if is_installed(MINILM) else ()
    return (*minilm, *demo_models())


def find_checkpoint(source: str, revision: str | None = None) -> Path:
    """The folder that holds a model.

    Args:
        source: a path, a hub id such as Qwen/Qwen3-Embedding-0.6B, `package:NAME` for an installed Python package, or
            the name of a built-in model. A local folder of that name wins.
        revision: a commit, tag or branch of a hub id; None: what the cache has, else the newest.

    Raises: ModelError: the model does not exist or cannot be downloaded, or a revision was given for a folder.
    """
    source = _without_built_in_name(source)
    if (package := package_name(source)) is not None:
        if revision is not None:
            raise ModelError(f"{source} is a package; a revision can be given only for a hub id; got {revision}")
        return find_in_package(package)
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"{source} is a folder; a revision can be given only for a hub id; got {revision}")
        return folder
    if folder.is_symlink():
        raise ModelError(f"{source} is a link to a folder that is not there: {folder.readlink()}")
    if folder.suffix == SUFFIX and folder.is_file() and find_gguf(folder.parent) == folder:
        return folder.parent
    if folder.exists():
        raise ModelError(f"{source} is a file; a model is a folder of config.json, tokenizer.json and *.safetensors")
    if not is_repository(source):
        raise ModelError(f"no such model folder: {source}{_sources_for(source)}")
    return _from_hub(source, revision)


def is_repository(source: str) -> bool:
    """Whether a source is a hub id: not a local path, and of the form owner/name."""
    folder = Path(source).expanduser()
    is_path = folder.exists() or folder.is_absolute() or source.startswith((".", "~"))
    return not is_path and bool(_REPOSITORY.fullmatch(source))


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids access to the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def revision_of(folder: Path) -> str | None:
    """The commit of a folder in the hub's cache; None for any other folder."""
    match = _CACHE_FOLDER.search(str(folder))
    return match.group(2) if match else None


def model_id(source: str) -> str:
    """The id that a model is served under if the configuration gives none.

    The hub id, also for a folder in the hub's cache or a known package; the name of any other package; else the name of
    the folder.
    """
    source = _without_built_in_name(source)
    if (package := package_name(source)) is not None:
        return package_model_id(package)
    if match := _CACHE_FOLDER.search(source):
        return match.group(1).replace("--", "/")
    return source if is_repository(source) else Path(source).expanduser().resolve().name


def _without_built_in_name(source: str) -> str:
    """The folder or package that the name of a built-in model stands for; any other source as it is."""
    if source in DEMO_NAMES and not os.path.lexists(source):
        return str(DEMO / source)
    if source == MINILM_NAME and not os.path.lexists(source) and is_installed(MINILM):
        return SOURCE + MINILM
    return source


def _sources_for(name: str) -> str:
    """What may be given instead of a bare name; "" for what can only be a path."""
    if "/" in name or name.startswith((".", "~")):
        return ""
    known = {hub_id.rsplit("/", 1)[-1].lower(): hub_id for hub_id in HUB_IDS} | {demo: demo for demo in DEMO_NAMES}
    matches = get_close_matches(name.lower(), known, n=1)
    guess = f" (did you mean {known[matches[0]]}?)" if matches else ""
    return f"; expected a local folder, a hub id of the form owner/name{guess}, or package:NAME"


def _from_hub(repository: str, revision: str | None) -> Path:
    folder = cached(repository, revision)
    if folder is not None and _is_complete(folder):
        return folder
    if repository == MINILM_ID and revision is None and is_installed(MINILM):
        return find_in_package(MINILM)
    if is_offline():
        name = repository if revision is None else f"{repository} at {revision}"
        raise ModelError(f"HF_HUB_OFFLINE is set, and the local cache has no such model: {name}")
    return fetch_into_cache(repository, revision)


def _is_complete(folder: Path) -> bool:
    # An interrupted download leaves a snapshot that lacks files: it must be resumed, not refused on every start.
    try:
        return bool(Checkpoint(folder).weight_files) and any((folder / name).is_file() for name in TOKENIZERS)
    except ModelError:
        return False
