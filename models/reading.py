"""Text and JSON files of a model: read whole, or refused with one sentence that says what to do."""

import json
from pathlib import Path

from models.interface import ModelError

# The largest tokenizer.json that is known has 35 MB.
MAX_BYTES = 512 * 1024 * 1024
# First bytes of the text that git leaves in place of a large file: git-lfs specification, "The Pointer".
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def read_text(file: Path) -> str | None:
    """A text file; None when there is none.

    Raises: ModelError: it is there and cannot be read.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if file.is_symlink():
            raise ModelError(f"{file} is a link to a file that is not there: {file.readlink()}") from None
        return None
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ModelError(f"{file} is no text file of a model; such a file has at most {MAX_BYTES} bytes")
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
        raise ModelError(f"{file} must give a whole number for {key}, it gives: {value!r}")
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


def _refuse_pointer(file: Path, content: bytes) -> None:
    if content.startswith(LFS_POINTER):
        raise ModelError(f"{file} is a pointer of git-lfs, not the file itself; run `git lfs pull` in {file.parent}")
