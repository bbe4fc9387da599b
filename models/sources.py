"""Where a model's files are: a local folder, the hub's local cache, or, when online, a download. And its id."""

import os
import re
from pathlib import Path

from models.checkpoint import Checkpoint
from models.hub import cached, fetch_into_cache
from models.interface import ModelError

DEMO = Path(__file__).parent / "demo"
DEMO_NAMES = ("demo-embedding", "demo-reranker")
TOKENIZERS = ("tokenizer.json", "tiktoken.model")

_CACHE_FOLDER = re.compile(r"models--([^/]+)/snapshots/([^/]+)/?$")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def demo_models() -> tuple[str, ...]:
    """The folders of the built-in pair, which needs no download: an embedder and a reranker."""
    return tuple(str(DEMO / name) for name in DEMO_NAMES)


def find_checkpoint(source: str, revision: str | None = None) -> Path:
    """The folder that holds a model: `source` is a path, or a hub id such as Qwen/Qwen3-Embedding-0.6B.

    `revision` is a commit, tag or branch of a hub id; None takes what the cache has, else the newest.

    Raises: ModelError: no such folder, not in the cache and not to be downloaded, a revision of a folder.
    """
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

    The repository id of a hub id or of a hub-cache path; else the folder's name.
    """
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
