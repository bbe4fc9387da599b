"""The hub, as `hearth pull` needs it: what a repository holds, and its files into a folder. Errors are sentences."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.diagnosis import what_it_is
from models.interface import ModelError
from models.selection import ALLOWED, IGNORED, INDEX, WEIGHTS, is_outside


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
