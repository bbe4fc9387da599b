"""`hearth pull`: the files of a model into one folder, with a manifest that says what they must be.

The folder is whole when it has its manifest: what was broken off has none, and the next call goes on.
"""

import filecmp
import os
import shutil
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.checkpoint.files import MANIFEST, describing_files, is_model_file, names_in
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

# Told what begins and how many bytes it will take; what it returns is told of the bytes as they pass.
Watch = Callable[[str, int], Progress]


@dataclass(frozen=True, slots=True)
class Pulled:
    """A whole folder."""

    manifest: Manifest
    was_whole: bool


def pull(source: str, folder: Path, *, revision: str | None, watch: Watch) -> Pulled:
    """Bring a hub model, or a copy of a local folder, into `folder`, and check every byte of it.

    A folder that is whole already is only checked; what is damaged in it is brought again, of the same revision.

    Raises: ModelError: no such model, another model's folder, a format that is not served, no network, no space.
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
        manifest = _bring(source, folder, revision, replaced, watch)
        for name in replaced.keys() - manifest.files.keys():
            (folder / name).unlink(missing_ok=True)
        write_manifest(folder, manifest)
    except OSError as error:
        raise ModelError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error
    return Pulled(manifest, was_whole=False)


def _refuse_another(before: Manifest, source: str, folder: Path) -> None:
    if before.source not in (source, origin := _origin(source)):
        raise ModelError(f"{folder} holds {before.source} already; take an empty folder for: {origin}")


def _refuse_itself(source: str, folder: Path, damaged: Sequence[str]) -> None:
    # What differs there may be the operator's own work.
    if not is_repository(source) and find_checkpoint(source).resolve() == folder.resolve():
        advice = f"remove {MANIFEST} and pull it into itself again, to take it as it is"
        raise ModelError(f"{folder} is not as {MANIFEST} says; {advice}; changed: {', '.join(damaged)}")


def _origin(source: str) -> str:
    if is_repository(source):
        return source
    local = find_checkpoint(source)
    manifest = read_manifest(local)
    return manifest.source if manifest else model_id(source)


def _bring(source: str, folder: Path, revision: str | None, replaced: Iterable[str], watch: Watch) -> Manifest:
    if is_repository(source) and not is_offline():
        repository = look_up(source, revision)
        names = _download(repository, folder, replaced)
        return _checked(Manifest(source, repository.revision, {}), folder, names, repository.checksums, watch)
    found = find_checkpoint(source)
    manifest = read_manifest(found) or Manifest(model_id(source), revision_of(found), {})
    if revision not in (None, manifest.revision):
        raise ModelError(f"{source} is here as revision {manifest.revision}, and not as: {revision}")
    names = _copy(found, folder, replaced, watch)
    return _checked(manifest, folder, names, {name: one.sha256 for name, one in manifest.files.items()}, watch)


def _download(repository: Repository, folder: Path, replaced: Iterable[str]) -> list[str]:
    repository.check()
    _refuse_strangers(folder, {*repository.checksums, *replaced})
    names = describing_files(repository.checksums)
    fetch(repository, names, folder)
    weights = Checkpoint(folder).weight_names(repository.checksums)
    fetch(repository, weights, folder)
    # What the library notes for its own next attempt; the manifest takes its place.
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return [*names, *weights]


def _copy(source: Path, folder: Path, replaced: Iterable[str], watch: Watch) -> list[str]:
    present = names_in(source)
    names = [*describing_files(present), *Checkpoint(source).weight_names(present)]
    if source.resolve() != folder.resolve():
        _refuse_strangers(folder, {*names, *replaced})
        progress = watch("copying", sum((source / name).stat().st_size for name in names))
        for name in names:
            _copy_file(source / name, folder / name, progress)
    return names


def _copy_file(source: Path, target: Path, progress: Progress) -> None:
    if target.is_file() and filecmp.cmp(source, target, shallow=False):  # copied by an earlier attempt
        progress(source.stat().st_size)
        return
    target.parent.mkdir(exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with source.open("rb") as reader, part.open("wb") as writer:
        while block := reader.read(BLOCK_BYTES):
            writer.write(block)
            progress(len(block))
        writer.flush()
        os.fsync(writer.fileno())
    part.replace(target)


def _refuse_strangers(folder: Path, names: Container[str]) -> None:
    strangers = [name for name in names_in(folder) if is_model_file(name) and name not in names]
    if strangers:
        raise ModelError(f"{folder} holds files of another model; take an empty folder, or remove: {strangers[0]}")


def _checked(
    manifest: Manifest, folder: Path, names: Sequence[str], wanted: Mapping[str, str | None], watch: Watch
) -> Manifest:
    total = sum((folder / name).stat().st_size for name in names)
    records: dict[str, FileRecord] = record_files(folder, names, watch("checking", total))
    damaged = [name for name, record in records.items() if wanted.get(name) not in (None, record.sha256)]
    for name in damaged:
        (folder / name).unlink()
    if damaged:
        raise ModelError(f"{folder} got damaged files, which were removed; run the command again: {', '.join(damaged)}")
    return Manifest(manifest.source, manifest.revision, records)
