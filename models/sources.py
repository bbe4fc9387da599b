"""Where a model's files are: a local folder, the hub's local cache, or, when online, a download. And its id."""

import os
import re
from pathlib import Path

from models.checkpoint import Checkpoint
from models.interface import ModelError

DEMO = Path(__file__).parent / "demo"
DEMO_NAMES = ("demo-embedding", "demo-reranker")

# Nothing that runs code, and no second copy of the weights in another format.
WANTED_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]

_CACHE_FOLDER = re.compile(r"models--([^/]+)/snapshots/[^/]+/?$")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def demo_models() -> tuple[str, ...]:
    """The folders of the built-in pair, which needs no download: an embedder and a reranker."""
    return tuple(str(DEMO / name) for name in DEMO_NAMES)


def find_checkpoint(source: str) -> Path:
    """The folder that holds a model: `source` is a path, or a hub id such as Qwen/Qwen3-Embedding-0.6B.

    Raises: ModelError: no such folder, not in the cache and not to be downloaded.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or source.startswith((".", "~")) or not _REPOSITORY.fullmatch(source):
        raise ModelError(f"no such model folder: {source}")
    return _from_hub(source)


def model_id(source: str) -> str:
    """The id a model is served under when the configuration gives none.

    The repository id of a hub id or of a hub-cache path; else the folder's name.
    """
    if cached := _CACHE_FOLDER.search(source):
        return cached.group(1).replace("--", "/")
    folder = Path(source).expanduser()
    if not folder.is_dir() and _REPOSITORY.fullmatch(source):
        return source
    return folder.resolve().name


def _from_hub(repository: str) -> Path:
    from huggingface_hub import snapshot_download  # 0.4 s to import, and local folders do not need it
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(repository, allow_patterns=WANTED_FILES, local_files_only=True))
        if _is_whole(cached):
            return cached
    except LocalEntryNotFoundError:
        pass
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise ModelError(f"HF_HUB_OFFLINE is set, and the local cache has no such model: {repository}")
    try:
        return Path(snapshot_download(repository, allow_patterns=WANTED_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(f"{repository} is no local folder, and the download failed: {_first_line(error)}") from error


def _is_whole(folder: Path) -> bool:
    # A download that was interrupted leaves a snapshot that lacks files: it must go on, not fail for ever.
    try:
        return bool(Checkpoint(folder).weight_files) and (folder / "tokenizer.json").is_file()
    except ModelError:
        return False


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
