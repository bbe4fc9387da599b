"""The files of a model's folder: which belong to it, how text and JSON are read, and why a folder holds no model."""

import json
import os
import re
import stat
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from models.interface import ModelError

JsonObject = dict[str, Any]

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
PICKLE = "pytorch_model.bin"
PICKLE_INDEX = "pytorch_model.bin.index.json"
# The largest tokenizer.json known has 35 MB.
MAX_JSON_BYTES = 512 * 1024 * 1024
# First bytes of the text file that Git LFS puts in place of a large file: git-lfs specification, "The Pointer".
LFS_POINTER = b"version https://git-lfs.github.com/spec/"

# Patterns of huggingface_hub, in which * also matches slashes. They exclude copies in another format (onnx/, openvino/,
# original/ of gpt-oss, Mistral's consolidated weights), pickles and code. A module's folder
# begins with a digit: 1_Pooling/.
ALLOWED = ["*.json", "*.safetensors", "*.txt", "*.model", "chat_template.jinja"]
IGNORED = ["[!0-9]*/*", "consolidated*.safetensors"]

_MODULE_FOLDER = re.compile(r"\d+_\w+")
_SUFFIXES = {".json", ".safetensors", ".txt", ".model", ".jinja"}
# Most licences require a copy of the licence beside the weights.
_NOTICE = re.compile(r"(licen[cs]e|notice|readme)(\.\w+)?", re.IGNORECASE)

# NAME_MAX of Linux.
MAX_NAME_BYTES = 255
MAX_QUOTED_CHARACTERS = 100

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
# Beginnings of files that trainers leave beside a model.
_TRAINING_FILES = ("optimizer", "rng_state", "scaler", "scheduler", "training_args")
OTHER_FORMATS = (".onnx", ".h5", ".msgpack", ".tflite", ".ot", ".npz", ".mlpackage")
_SNAPSHOTS = "snapshots"
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_PICKLE_SHARD = re.compile(r"pytorch_model-\d+-of-(\d+)\.bin")
# What training code puts before the name of every tensor.
WRAPPERS = {"_orig_mod.": "torch.compile", "module.": "DataParallel", "base_model.model.": "PEFT"}


def read_text_file(file: Path) -> str | None:
    """The content of a text file; None if there is no such file.

    Raises: ModelError: the file exists and cannot be read.
    """
    try:
        with open_file(file) as stream:
            content = stream.read(MAX_JSON_BYTES + 1)
    except FileNotFoundError:
        if file.is_symlink():
            raise ModelError(f"{file} is a link to a file that is not there: {file.readlink()}") from None
        return None
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > MAX_JSON_BYTES:
        raise ModelError(f"{file} is too large; a text file of a model may have at most {MAX_JSON_BYTES} bytes")
    _refuse_pointer(file, content)
    try:
        # Editors on Windows begin a file with a byte order mark.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def open_file(file: Path) -> BinaryIO:
    """Open a file for reading, without waiting: the open() of a pipe waits for a writer, perhaps for ever.

    Raises:
        OSError: there is no such file, or it cannot be opened.
        ModelError: it is a pipe, a device, a socket or a folder.
    """
    stream = cast("BinaryIO", os.fdopen(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb"))
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise ModelError(f"{file} is not a regular file; a model's files must not be pipes, devices or folders")
    return stream


def check_regular_files(folder: Path) -> None:
    """Refuse a folder in which a file of the model is a pipe or a device: libraries would open it, and perhaps wait.

    Raises: ModelError: names it.
    """
    for name in filter(is_model_file, names_in(folder)):
        try:
            mode = (folder / name).stat().st_mode
        except OSError:
            continue  # a link to nowhere: reading it says so
        if not stat.S_ISREG(mode):
            raise ModelError(f"{folder / name} is not a regular file; a model's files must not be pipes or devices")


def read_json_file(file: Path) -> object:
    """The value in a JSON file; None if there is no such file.

    Raises: ModelError: the file exists and cannot be read, or is not JSON.
    """
    text = read_text_file(file)
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not valid JSON: {error}") from error


def whole_number(value: object, key: str, file: Path) -> int:
    """A whole number from a configuration file; 0 if `value` is None.

    Raises: ModelError: the value is anything else.
    """
    if value is None:
        return 0
    # Tokenizers write "no limit" as the float 1e30.
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != value // 1:
        raise ModelError(f"{file} must give a whole number for {key}; got {value!r}")
    return int(value)


def check_weight_file(file: Path) -> None:
    """Refuse a Git LFS pointer in place of weights.

    Raises: ModelError: the file is such a pointer, or cannot be read.
    """
    try:
        with open_file(file) as stream:
            _refuse_pointer(file, stream.read(len(LFS_POINTER)))
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from error


def is_model_file(name: str) -> bool:
    """Whether a file can belong to a model, by its path below the model's folder."""
    *folders, last = name.split("/")
    if len(folders) > 1 or not all(map(_MODULE_FOLDER.fullmatch, folders)):
        return False
    return Path(last).suffix in _SUFFIXES and not last.startswith(("consolidated", ".")) and name != MANIFEST


def why_no_place(name: str) -> str | None:
    """Why no file below a folder can have this path; None if one can."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        return "outside the folder"
    if _CONTROL_CHARACTER.search(name):
        return "with a control character in its name"
    try:
        is_long = any(len(part.encode()) > MAX_NAME_BYTES for part in path.parts)
    except UnicodeEncodeError:  # JSON can hold one half of a surrogate pair
        return "with a character that UTF-8 does not have in its name"
    return f"with a name of more than {MAX_NAME_BYTES} bytes" if is_long else None


def quoted(name: str) -> str:
    """A name from outside for a message, cut and without control characters."""
    return repr(name if len(name) <= MAX_QUOTED_CHARACTERS else f"{name[:MAX_QUOTED_CHARACTERS]}...")


def is_weights(name: str) -> bool:
    return name.endswith(".safetensors")


def names_in(folder: Path) -> list[str]:
    """The files of a folder and of its module folders (such as 1_Pooling/), as sorted paths below the folder.

    Raises: ModelError: a folder cannot be listed.
    """
    try:
        modules = [path for path in folder.iterdir() if path.is_dir() and _MODULE_FOLDER.fullmatch(path.name)]
        below = [file for parent in (folder, *modules) for file in parent.iterdir() if not file.is_dir()]
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror}") from error
    return sorted(file.relative_to(folder).as_posix() for file in below)


def descriptive_files(names: Iterable[str]) -> list[str]:
    """The files to pull before the weights: configuration, tokenizer, notices and module folders."""
    return sorted(name for name in names if _NOTICE.fullmatch(name) or (is_model_file(name) and not _is_big(name)))


def _is_big(name: str) -> bool:
    # Weights in a module's folder (2_Dense/model.safetensors) are small.
    return is_weights(name) and "/" not in name


def pickled_weights(names: Collection[str]) -> list[str]:
    """The pickles that hold weights which no safetensors file holds, in the model's folder and in those of its modules.

    Raises: ModelError: shards are missing.
    """
    pickles = sorted(
        name
        for name in names
        if name.endswith(f"/{PICKLE}") and f"{name.rpartition('/')[0]}/{WEIGHTS}" not in names and name.count("/") == 1
    )
    if WEIGHTS in names or INDEX in names:
        return pickles
    if PICKLE in names:
        return [PICKLE, *pickles]
    shards = sorted(name for name in names if _PICKLE_SHARD.fullmatch(name))
    counts = {int(match[1]) for name in shards if (match := _PICKLE_SHARD.fullmatch(name))}
    if shards and counts != {len(shards)}:
        raise ModelError(f"there are {len(shards)} of {max(counts)} shards of {PICKLE}, such as {shards[0]}")
    return [*shards, *pickles]


def explain_missing_weights(names: Collection[str], adapter: Mapping[str, object] | None = None) -> str | None:
    """A clause that says what a folder without weights holds instead; None if the names of its files do not tell.

    Args:
        names: paths of all files below the folder.
        adapter: the content of adapter_config.json, if there is one.
    """
    if WEIGHTS in names or INDEX in names:
        return None
    if shards := [name for name in names if _SHARD.fullmatch(name)]:
        return f"it has {len(shards)} shards, such as {shards[0]}, without {INDEX}; copy that file beside them"
    if ADAPTER in names:
        base = (adapter or {}).get("base_model_name_or_path") or "its base model"
        return (
            f"it is a PEFT adapter without the model that it adapts, {base}; merge the two and serve the result: "
            "model.merge_and_unload().save_pretrained(...), and tokenizer.save_pretrained(...) beside it"
        )
    if file := _first(names, (".gguf",)):
        return (
            f"its weights are GGUF, llama.cpp's format ({file}); use the model's safetensors version, or download that "
            "file alone and serve its path"
        )
    if file := _first(names, PICKLES):
        return (
            f"its weights are pickles, which can run code when they are read ({file}), and are not served; "
            "use the model's safetensors version, or write one without running code: hearth convert FOLDER"
        )
    if file := _first(names, OTHER_FORMATS):
        return f"its weights are in another format ({file}); use the model's safetensors version"
    return None


def explain_wrapped_names(names: Collection[str]) -> str | None:
    """A clause about tensors whose names all begin with what a wrapper of training code adds; None if they do not."""
    for prefix, wrapper in WRAPPERS.items():
        if names and all(name.startswith(prefix) for name in names):
            return (
                f"was saved from inside {wrapper}: the name of every tensor begins with {prefix!r}; "
                "save the model itself, or remove this from the names"
            )
    return None


def suggest_subfolders(folder: Path) -> str | None:
    """A clause that names folders one level deeper that may hold a model, as in the hub's cache; None without any."""
    snapshots = folder / _SNAPSHOTS
    below = sorted(path.parent for path in (snapshots if snapshots.is_dir() else folder).glob("*/config.json"))
    below = [path for path in below if not _MODULE_FOLDER.fullmatch(path.name)]
    return f"models may be in: {', '.join(map(str, below[:3]))}" if below else None


def _first(names: Collection[str], endings: tuple[str, ...]) -> str | None:
    return min(
        (name for name in names if name.endswith(endings) and not name.startswith(_TRAINING_FILES)), default=None
    )


def _refuse_pointer(file: Path, content: bytes) -> None:
    if content.startswith(LFS_POINTER):
        raise ModelError(f"{file} is a Git LFS pointer, not the file itself; run `git lfs pull` in {file.parent}")
