"""`hearth pull`: puts the files of a model into one folder, with a manifest to check them by.

The manifest is written last. A folder without one was interrupted, and the next call resumes it.
"""

import filecmp
import os
import shutil
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.checkpoint.files import (
    MANIFEST,
    descriptive_files,
    is_model_file,
    names_in,
    open_file,
    pickled_weights,
)
from models.checkpoint.folder import Checkpoint
from models.checkpoint.hub import (
    Repository,
    fetch,
    find_checkpoint,
    is_offline,
    is_repository,
    look_up,
    model_id,
    revision_of,
)
from models.checkpoint.manifest import (
    BLOCK_BYTES,
    FileRecord,
    Manifest,
    Progress,
    damaged_files,
    read_manifest,
    record_files,
    write_manifest,
)
from models.interface import ModelError

# While a file is written it has this ending.
PART = ".part"
# Where huggingface_hub keeps notes about a download.
LIBRARY_NOTES = ".cache/huggingface"
# Called with the name of a step and its total bytes; returns a callback that gets the bytes of each block.
Watch = Callable[[str, int], Progress]
# Writes the pickled weights of a folder as safetensors, and returns the names of the files that it wrote.
Convert = Callable[[Path], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Pulled:
    """A complete folder, and whether it was complete before."""

    manifest: Manifest
    was_whole: bool


def pull_model(
    source: str, folder: Path, *, revision: str | None, watch: Watch, convert: Convert | None = None
) -> Pulled:
    """Download a hub model or copy a local folder into `folder`, and check every byte.

    A folder that is already complete is only checked; damaged files are replaced from the same revision. With
    `convert`, weights that are published as pickles alone are fetched too, converted and removed.

    Raises: ModelError: no such model, another model's folder, a format that is not supported, no network, no space.
    """
    before = read_manifest(folder) if folder.is_dir() else None
    if before is not None:
        _refuse_another(before, source, folder)
        if revision in (None, before.revision):
            damaged = damaged_files(folder, before, watch("checking", before.bytes))
            if not damaged:
                return Pulled(before, was_whole=True)
            _refuse_itself(source, folder, damaged)
            revision = before.revision
    replaced = before.files if before else {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        manifest = _transfer(source, folder, revision, replaced, watch, convert)
        for name in replaced.keys() - manifest.files.keys():
            (folder / name).unlink(missing_ok=True)
        write_manifest(folder, manifest)
    except OSError as error:
        raise ModelError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error
    return Pulled(manifest, was_whole=False)


def _refuse_another(before: Manifest, source: str, folder: Path) -> None:
    if before.source not in (source, origin := _origin(source)):
        raise ModelError(f"{folder} already holds {before.source}; choose an empty folder for {origin}")


def _refuse_itself(source: str, folder: Path, damaged: Sequence[str]) -> None:
    # The differences may be the operator's own changes.
    if not is_repository(source) and find_checkpoint(source).resolve() == folder.resolve():
        advice = f"to accept the changes, remove {MANIFEST} and pull the folder into itself again"
        raise ModelError(f"{folder} does not match {MANIFEST}; {advice}; changed: {', '.join(damaged)}")


def _origin(source: str) -> str:
    if is_repository(source):
        return source
    local = find_checkpoint(source)
    manifest = read_manifest(local)
    return manifest.source if manifest else model_id(source)


def _transfer(
    source: str,
    folder: Path,
    revision: str | None,
    replaced: Iterable[str],
    watch: Watch,
    convert: Convert | None,
) -> Manifest:
    if is_repository(source) and not is_offline():
        repository = look_up(source, revision)
        names = _download(repository, folder, replaced, convert)
        return _checked(Manifest(source, repository.revision, {}), folder, names, repository.checksums, watch)
    local = find_checkpoint(source)
    manifest = read_manifest(local) or Manifest(model_id(source), revision_of(local), {})
    if revision not in (None, manifest.revision):
        raise ModelError(f"{source} is available only as revision {manifest.revision}; got {revision}")
    names = _copy(local, folder, replaced, watch, convert)
    checksums = {name: record.sha256 for name, record in manifest.files.items()}
    return _checked(manifest, folder, names, checksums, watch)


def _download(repository: Repository, folder: Path, replaced: Iterable[str], convert: Convert | None) -> list[str]:
    pickles = pickled_weights(repository.checksums.keys()) if convert else []
    if not _has_root(pickles):
        repository.check()
    _refuse_other_files(folder, {*repository.checksums, *replaced})
    names = descriptive_files(repository.checksums)
    _refuse_links(folder, [*names, *replaced, LIBRARY_NOTES])
    fetch(repository, names, folder)
    weights = [] if _has_root(pickles) else Checkpoint(folder).weight_names(repository.checksums)
    _refuse_links(folder, [*weights, *pickles])
    fetch(repository, [*weights, *pickles], folder)
    # The library's notes for its next attempt; the manifest replaces them.
    shutil.rmtree(folder / LIBRARY_NOTES.partition("/")[0], ignore_errors=True)
    return [*names, *weights, *_converted(folder, pickles, convert)]


def _copy(source: Path, folder: Path, replaced: Iterable[str], watch: Watch, convert: Convert | None) -> list[str]:
    present = names_in(source)
    pickles = pickled_weights(present) if convert else []
    weights = [] if _has_root(pickles) else Checkpoint(source).weight_names(present)
    names = [*descriptive_files(present), *weights]
    if source.resolve() != folder.resolve():
        _refuse_other_files(folder, {*names, *replaced})
        _refuse_links(folder, [*names, *pickles, *replaced])
        progress = watch("copying", sum((source / name).stat().st_size for name in (*names, *pickles)))
        for name in (*names, *pickles):
            _copy_file(source / name, folder / name, progress)
    return [*names, *_converted(folder, pickles, convert)]


def _has_root(pickles: Iterable[str]) -> bool:
    return any("/" not in name for name in pickles)


def _converted(folder: Path, pickles: Sequence[str], convert: Convert | None) -> list[str]:
    """The names of the files that pickles in `folder` became; the pickles are removed."""
    if not pickles or convert is None:
        return []
    written = list(convert(folder))
    for name in pickles:
        (folder / name).unlink()
    return written


def _copy_file(source: Path, target: Path, progress: Progress) -> None:
    if target.is_file() and filecmp.cmp(source, target, shallow=False):  # an earlier attempt copied it
        progress(source.stat().st_size)
        return
    target.parent.mkdir(exist_ok=True)
    part = target.with_name(f"{target.name}{PART}")
    with open_file(source) as reader, open(part, "wb", opener=_open_no_link) as writer:
        while block := reader.read(BLOCK_BYTES):
            writer.write(block)
            progress(len(block))
        writer.flush()
        os.fsync(writer.fileno())
    part.replace(target)


def _open_no_link(path: str, flags: int) -> int:
    # Neither through a link, nor waiting for the reader of a pipe.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Refuse links and pipes where files and their folders are written: they lead out of the folder, or wait for ever.

    Raises: ModelError: names the first.
    """
    for name in (*names, MANIFEST):
        parents = [folder / parent for parent in PurePosixPath(name).parents if parent.parts]
        for path in (*parents, folder / name, folder / f"{name}{PART}"):
            if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
                raise ModelError(f"{path} is a link or a pipe, and nothing is written through it; remove it")


def _refuse_other_files(folder: Path, names: Container[str]) -> None:
    other_files = [name for name in names_in(folder) if is_model_file(name) and name not in names]
    if other_files:
        raise ModelError(f"{folder} holds files of another model; choose an empty folder, or remove: {other_files[0]}")


def _checked(
    manifest: Manifest, folder: Path, names: Sequence[str], checksums: Mapping[str, str | None], watch: Watch
) -> Manifest:
    total = sum((folder / name).stat().st_size for name in names)
    records: dict[str, FileRecord] = record_files(folder, names, watch("checking", total))
    damaged = [name for name, record in records.items() if checksums.get(name) not in (None, record.sha256)]
    for name in damaged:
        (folder / name).unlink()
    if damaged:
        raise ModelError(
            f"{folder} received damaged files, which were removed; run the command again: {', '.join(damaged)}"
        )
    return Manifest(manifest.source, manifest.revision, records)
