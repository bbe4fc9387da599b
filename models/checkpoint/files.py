"""The files of a model's folder: which belong to it, reading text and JSON, and what a folder without a model holds."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from models.interface import ModelError

JsonObject = dict[str, Any]

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
# The largest tokenizer.json that is known has 35 MB.
MAX_JSON_BYTES = 512 * 1024 * 1024
# First bytes of the text that git leaves in place of a large file: git-lfs specification, "The Pointer".
LFS_POINTER = b"version https://git-lfs.github.com/spec/"

# Patterns of huggingface_hub, in which * also takes slashes. Kept out: copies in another format (onnx/, openvino/,
# original/ of gpt-oss, Mistral's consolidated weights), pickles and code. 1_Pooling/ and its like begin with a digit.
# A chat template is read as text, to see whether it is the known one.
ALLOWED = ["*.json", "*.safetensors", "*.txt", "*.model", "chat_template.jinja"]
IGNORED = ["[!0-9]*/*", "consolidated*.safetensors"]

_PART_FOLDER = re.compile(r"\d+_\w+")
_SUFFIXES = {".json", ".safetensors", ".txt", ".model", ".jinja"}
# Most licences ask to go wherever the weights go.
_NOTICE = re.compile(r"(licen[cs]e|notice|readme)(\.\w+)?", re.IGNORECASE)

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# What trainers leave beside a model.
_NO_MODEL = ("optimizer", "rng_state", "scaler", "scheduler", "training_args")
OTHER_FORMATS = (".onnx", ".h5", ".msgpack", ".tflite", ".ot", ".npz", ".mlpackage")
_SNAPSHOTS = "snapshots"


def read_text(file: Path) -> str | None:
    """A text file; None when there is none.

    Raises: ModelError: it is there and cannot be read.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        if file.is_symlink():
            raise ModelError(f"{file} is a link to a file that is not there: {file.readlink()}") from None
        return None
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > MAX_JSON_BYTES:
        raise ModelError(f"{file} is no text file of a model; such a file has at most {MAX_JSON_BYTES} bytes")
    _refuse_pointer(file, content)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def read_json(file: Path) -> object:
    """What a JSON file holds; None when there is none.

    Raises: ModelError: it is there and cannot be read.
    """
    text = read_text(file)
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not valid JSON: {error}") from error


def whole_number(value: object, key: str, file: Path) -> int:
    """A number of a configuration; 0 when it has none.

    Raises: ModelError: it is something else.
    """
    if value is None:
        return 0
    # A tokenizer's "no limit" is a float of 1e30.
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != value // 1:
        raise ModelError(f"{file} must give a whole number for {key}; got {value!r}")
    return int(value)


def check_weight_file(file: Path) -> None:
    """Refuse what stands in for weights that were not brought.

    Raises: ModelError: a pointer of git-lfs, or not to be read.
    """
    try:
        with file.open("rb") as stream:
            _refuse_pointer(file, stream.read(len(LFS_POINTER)))
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from error


def is_model_file(name: str) -> bool:
    """Whether a file, by its path below the model's folder, can be part of a model."""
    *folders, last = name.split("/")
    if len(folders) > 1 or not all(map(_PART_FOLDER.fullmatch, folders)):
        return False
    return Path(last).suffix in _SUFFIXES and not last.startswith(("consolidated", ".")) and name != MANIFEST


def is_outside(name: str) -> bool:
    """Whether a path below a folder leads out of it."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def is_weights(name: str) -> bool:
    """Whether it holds tensors."""
    return name.endswith(".safetensors")


def names_in(folder: Path) -> list[str]:
    """Every file of a folder and of its parts (1_Pooling/ and the like), by its path below the folder, sorted.

    Raises: ModelError: it cannot be listed.
    """
    try:
        parts = [path for path in folder.iterdir() if path.is_dir() and _PART_FOLDER.fullmatch(path.name)]
        below = [file for place in (folder, *parts) for file in place.iterdir() if not file.is_dir()]
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror}") from error
    return sorted(file.relative_to(folder).as_posix() for file in below)


def describing_files(names: Iterable[str]) -> list[str]:
    """What is pulled of a repository before its weights: configuration, tokenizer, notices, and its parts."""
    return sorted(name for name in names if _NOTICE.fullmatch(name) or (is_model_file(name) and not _is_big(name)))


def _is_big(name: str) -> bool:
    # Weights in a part's folder (2_Dense/model.safetensors) are small, and no second format of the model's own.
    return is_weights(name) and "/" not in name


def what_it_is(names: Collection[str], adapter: Mapping[str, object] | None = None) -> str | None:
    """A clause by the names of the files; None when they say nothing.

    Args:
        names: of all files, by their paths below the folder.
        adapter: adapter_config.json, when there is one and it was read.
    """
    if WEIGHTS in names or INDEX in names:
        return None
    if ADAPTER in names:
        base = (adapter or {}).get("base_model_name_or_path") or "its base model"
        return (
            f"it is a PEFT adapter without the model that it adapts, {base}; merge the two and serve the result: "
            "model.merge_and_unload().save_pretrained(...), and tokenizer.save_pretrained(...) beside it"
        )
    if found := _first(names, (".gguf",)):
        return f"its weights are GGUF, which is llama.cpp's format ({found}); take the model's safetensors version"
    if found := _first(names, PICKLES):
        return (
            f"its weights are pickles, which can run code when they are read ({found}); "
            "take the model's safetensors version, or make one: AutoModel.from_pretrained(...).save_pretrained(...)"
        )
    if found := _first(names, OTHER_FORMATS):
        return f"its weights are in another format ({found}); take the model's safetensors version"
    return None


def where_it_may_be(folder: Path) -> str | None:
    """A clause for a folder whose model lies one level deeper, as in the hub's cache."""
    snapshots = folder / _SNAPSHOTS
    below = sorted(path.parent for path in (snapshots if snapshots.is_dir() else folder).glob("*/config.json"))
    below = [path for path in below if not re.fullmatch(r"\d+_\w+", path.name)]
    return f"models may be in: {', '.join(map(str, below[:3]))}" if below else None


def _first(names: Collection[str], endings: tuple[str, ...]) -> str | None:
    return min((name for name in names if name.endswith(endings) and not name.startswith(_NO_MODEL)), default=None)


def _refuse_pointer(file: Path, content: bytes) -> None:
    if content.startswith(LFS_POINTER):
        raise ModelError(f"{file} is a pointer of git-lfs, not the file itself; run `git lfs pull` in {file.parent}")
