"""Converts the pickled weights of a folder to safetensors and checks what was written. The pickles stay."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.checkpoint.files import (
    INDEX,
    PICKLE,
    PICKLE_INDEX,
    WEIGHTS,
    descriptive_files,
    names_in,
    open_file,
    pickled_weights,
    read_json_file,
)
from models.checkpoint.folder import Checkpoint
from models.checkpoint.manifest import Manifest, read_manifest, record_files, write_manifest
from models.checkpoint.pull import PART
from models.interface import ModelError

PROGRAM = Path(__file__).with_name("unpickle.py")
# What a reader of pickles needs of the environment: no keys, no proxies, no tokens of a hub.
KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")
NO_NETWORK = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "no_proxy": "*"}

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion wrote: names of files below the folder, tensors, bytes, and how the reader was isolated."""

    folder: Path
    files: tuple[str, ...]
    tensors: int
    bytes: int
    isolation: str


def convert_folder(source: Path, folder: Path | None = None, say: Say = lambda step: None) -> Converted:
    """Write the weights of `source` as safetensors beside them, or with the model's other files to another folder.

    The pickles stay. Nothing is written unless every tensor was read, and its copy compared with it.

    Raises: ModelError: there is nothing to convert, a file cannot be read without running code, or cannot be written.
    """
    present = names_in(source) if source.is_dir() else []
    pickles = pickled_weights(present)
    if not pickles:
        raise ModelError(f"{source} has nothing to convert: {_what_it_has(source, present)}")
    try:
        if folder is not None and folder.resolve() != source.resolve():
            _copy_others(
                source, folder, [name for name in descriptive_files(present) if not name.endswith(PICKLE_INDEX)]
            )
        target = folder or source
        converted = _convert(source, target, pickles, say)
    except OSError as error:
        raise ModelError(f"{error.filename or folder} cannot be written: {error.strerror or error}") from error
    if (manifest := read_manifest(target)) is not None:
        records = record_files(target, converted.files)
        write_manifest(target, Manifest(manifest.source, manifest.revision, {**manifest.files, **records}))
    return converted


def _what_it_has(source: Path, present: Iterable[str]) -> str:
    if not source.is_dir():
        return "it is no folder"
    return "its weights are safetensors" if {WEIGHTS, INDEX} & set(present) else f"it has no {PICKLE}"


def _copy_others(source: Path, folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if names_in(folder):
        raise ModelError(f"{folder} is not empty; choose another folder")
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        with open_file(source / name) as reader, (folder / name).open("wb") as writer:
            shutil.copyfileobj(reader, writer)


def _convert(source: Path, target: Path, pickles: list[str], say: Say) -> Converted:
    targets = {name: safetensors_name(name) for name in pickles}
    reports: dict[str, Mapping[str, Any]] = {}
    parts = {name: target / f"{written}{PART}" for name, written in targets.items()}
    try:
        for name in pickles:
            say(f"converting {name}")
            parts[name].parent.mkdir(exist_ok=True)
            reports[name] = _run(source / name, parts[name])
        index = _index(source, {targets[name]: reports[name] for name in pickles if "/" not in name})
        for name in pickles:
            parts[name].replace(target / targets[name])
        if index:
            (target / INDEX).write_text(json.dumps(index, indent=2), "utf-8")
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    _check_written(target, {targets[name]: reports[name] for name in pickles})
    return Converted(
        folder=target,
        files=(*targets.values(), *([INDEX] if index else [])),
        tensors=sum(len(report["tensors"]) for report in reports.values()),
        bytes=sum(report["bytes"] for report in reports.values()),
        isolation=next(iter(reports.values()))["isolation"],
    )


def safetensors_name(pickle: str) -> str:
    """The name of a converted file: pytorch_model-00001-of-00002.bin becomes model-00001-of-00002.safetensors."""
    parent, _, name = pickle.rpartition("/")
    stem = name.removeprefix("pytorch_").removesuffix(".bin")
    return f"{parent}/{stem}.safetensors" if parent else f"{stem}.safetensors"


def _run(source: Path, target: Path) -> Mapping[str, Any]:
    environment = {key: value for key, value in os.environ.items() if key in KEPT} | NO_NETWORK
    process = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-I", str(PROGRAM), str(source), str(target)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    try:
        report: Mapping[str, Any] = json.loads(process.stdout)
    except ValueError:
        last = next(iter(reversed(process.stderr.strip().splitlines())), f"exit status {process.returncode}")
        raise ModelError(f"{source} cannot be converted: its reader ended without an answer: {last}") from None
    if "error" in report:
        raise ModelError(
            f"{source} cannot be converted, because it is not read without running code: {report['error']}; "
            "use the model's safetensors version"
        )
    return report


def _index(source: Path, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The index of several files, which must hold the tensors that the index of the pickles names."""
    if len(reports) < 2:
        return None
    files = {name: file for file, report in reports.items() for name in report["tensors"]}
    listed = read_json_file(source / PICKLE_INDEX)
    names = listed.get("weight_map") if isinstance(listed, dict) else None
    if isinstance(names, dict) and (lost := sorted(names.keys() - files.keys())):
        raise ModelError(f"{source} lacks tensors that {PICKLE_INDEX} lists: {', '.join(lost[:3])}")
    if sum(len(report["tensors"]) for report in reports.values()) != len(files):
        raise ModelError(f"{source} holds a tensor in two of its files")
    return {"metadata": {"total_size": sum(report["bytes"] for report in reports.values())}, "weight_map": files}


def _check_written(target: Path, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Compare names and shapes of the root's weights, as a server reads them, with what the reader has written."""
    tensors = {
        name: tuple(shape)
        for file, report in reports.items()
        if "/" not in file
        for name, (_, shape) in report["tensors"].items()
    }
    if tensors and Checkpoint(target).tensors != tensors:
        raise ModelError(f"{target} holds other tensors than were written; was it changed meanwhile?")
