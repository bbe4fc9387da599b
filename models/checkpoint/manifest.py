"""manifest.json: lists the files of a pulled folder, to check later that they are unchanged. No network.

It detects damage: a bad copy, a full disk, a file of another revision. It does not prove who made the files.
"""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from models.checkpoint.files import (
    MANIFEST,
    is_model_file,
    is_weights,
    names_in,
    open_file,
    quoted,
    read_json_file,
    why_no_place,
)
from models.cores import available_cores
from models.interface import ModelError

log = logging.getLogger("hearth.models")

SCHEMA = "hearth-manifest/1"
# One file per thread: SHA-256 runs at 0.7 to 2 GB/s per core, slower than the disks that models are read from.
MAX_THREADS = 8
BLOCK_BYTES = 1024 * 1024

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size and checksum of a file when the manifest was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Where a folder came from, and its files by their paths below the folder."""

    source: str
    revision: str | None
    files: Mapping[str, FileRecord]

    @property
    def bytes(self) -> int:
        return sum(record.bytes for record in self.files.values())


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest; None if there is none, or if another program wrote manifest.json.

    Raises: ModelError: it is damaged, or another version of Hearth wrote it.
    """
    file = folder / MANIFEST
    document = read_json_file(file)
    schema = str(document.get("schema", "")) if isinstance(document, dict) else ""
    if not isinstance(document, dict) or not schema.startswith("hearth-manifest/"):
        return None
    if schema != SCHEMA:
        raise ModelError(f"{file} was written by another version of Hearth: expected schema {SCHEMA}; got {schema}")
    try:
        files = {_inside(name, file): FileRecord(**record) for name, record in document["files"].items()}
        return Manifest(str(document["source"]), document["revision"], files)
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{file} is damaged; pull or copy the folder again: {error!r}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest atomically."""
    document = {
        "schema": SCHEMA,
        "source": manifest.source,
        "revision": manifest.revision,
        "files": {name: asdict(manifest.files[name]) for name in sorted(manifest.files)},
    }
    part = folder / f"{MANIFEST}.part"
    part.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    part.replace(folder / MANIFEST)


def check_text_files(folder: Path, manifest: Manifest | None) -> None:
    """Compare a folder with its manifest: names and sizes of all files, checksums of all but the weights.

    Raises: ModelError: a file is missing, changed or not listed.
    """
    if manifest is None:
        return
    small = [name for name in manifest.files if not is_weights(name)]
    _refuse(folder, [*_missing(folder, manifest), *_not_listed(folder, manifest), *_changed(folder, manifest, small)])


def check_weight_files(folder: Path, manifest: Manifest | None) -> None:
    """Compare the checksums of the weights with the manifest, several files at a time.

    Raises: ModelError: a file is missing or changed.
    """
    if manifest is None:
        return
    started = time.perf_counter()
    weights = [name for name in manifest.files if is_weights(name)]
    _refuse(folder, [*_missing(folder, manifest), *_changed(folder, manifest, weights)])
    gigabytes = sum(manifest.files[name].bytes for name in weights) / 1e9
    seconds = time.perf_counter() - started
    log.info("%s: the weights match %s; read %.2f GB in %.1f s", folder, MANIFEST, gigabytes, seconds)


def damaged_files(folder: Path, manifest: Manifest, progress: Progress = lambda _: None) -> list[str]:
    """Names of listed files that are missing or changed."""
    missing = {name for name, _ in _missing(folder, manifest)}
    whole = [name for name in manifest.files if name not in missing]
    return sorted([*missing, *(name for name, _ in _changed(folder, manifest, whole, progress))])


def record_files(folder: Path, names: Sequence[str], progress: Progress = lambda _: None) -> dict[str, FileRecord]:
    """Compute the sizes and checksums of files.

    Raises: ModelError: a file cannot be read.
    """
    threads = max(1, min(MAX_THREADS, available_cores(), len(names)))
    with ThreadPoolExecutor(threads) as pool:
        records = pool.map(lambda name: _record(folder / name, progress), names)
        return dict(zip(names, records, strict=True))


def _record(file: Path, progress: Progress) -> FileRecord:
    digest, size = hashlib.sha256(), 0
    try:
        with open_file(file) as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
                size += len(block)
                progress(len(block))
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from error
    return FileRecord(size, digest.hexdigest())


def _missing(folder: Path, manifest: Manifest) -> list[tuple[str, str]]:
    differences = []
    for name, record in manifest.files.items():
        file = folder / name
        if not file.is_file():
            differences.append((name, "is missing"))
        elif (size := file.stat().st_size) != record.bytes:
            differences.append((name, f"is {size} bytes long, not {record.bytes}"))
    return differences


def _changed(
    folder: Path, manifest: Manifest, names: Sequence[str], progress: Progress = lambda _: None
) -> Iterable[tuple[str, str]]:
    present = [name for name in names if (folder / name).is_file()]
    records = record_files(folder, present, progress)
    return [(name, "has changed") for name, record in records.items() if record != manifest.files[name]]


def _not_listed(folder: Path, manifest: Manifest) -> list[tuple[str, str]]:
    unlisted = [name for name in names_in(folder) if is_model_file(name) and name not in manifest.files]
    return [(name, "is not listed") for name in unlisted]


def _refuse(folder: Path, differences: Sequence[tuple[str, str]]) -> None:
    if not differences:
        return
    name, difference = differences[0]
    more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
    advice = f"copy the folder again, or remove {MANIFEST} to serve it unchecked"
    raise ModelError(f"{folder / name} {difference}, according to {MANIFEST}{more}; {advice}")


def _inside(name: str, file: Path) -> str:
    if reason := why_no_place(name):
        raise ModelError(f"{file} lists a file {reason}: {quoted(name)}")
    return name
