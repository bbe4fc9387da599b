"""Which files make up a model: one format of its weights, and nothing that runs code."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from models.interface import ModelError

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

# Patterns of huggingface_hub, in which * also takes slashes. Kept out: copies in another format (onnx/, openvino/,
# original/ of gpt-oss, Mistral's consolidated weights), pickles and code. 1_Pooling/ and its like begin with a digit.
# A chat template is read as text, to see whether it is the known one.
ALLOWED = ["*.json", "*.safetensors", "*.txt", "*.model", "chat_template.jinja"]
IGNORED = ["[!0-9]*/*", "consolidated*.safetensors"]

_PART_FOLDER = re.compile(r"\d+_\w+")
_SUFFIXES = {".json", ".safetensors", ".txt", ".model", ".jinja"}
# Most licences ask to go wherever the weights go.
_NOTICE = re.compile(r"(licen[cs]e|notice|readme)(\.\w+)?", re.IGNORECASE)


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
