"""Says what is wrong with the configuration: the variable, the flag or the line, the value, and the fix."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from server.config import Config, ModelConfig
from server.config_file import KeyPath, YamlFile

# What pydantic says, and what is said here.
_PHRASES = {
    "Input should be ": "must be ",
    "Field required": "is required",
    "Value error, ": "",
    "valid tuple": "list",
    "a valid string": "text",
    " after validation, not 0": "",
    "Input is not a valid path for <class 'pathlib.Path'>": "must be the path of a file",
    ", unable to interpret input": "",
    ", unable to parse string as an integer": "",
    ", unable to parse string as a number": "",
    "Tuple should have": "must have",
    "Keys should be strings": "keys must be text",
}
_MODEL = "a hub id or folder, or a mapping with `path`"
_MOST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Sources:
    """Where each value of the configuration comes from."""

    flags: frozenset[str]
    variables: Mapping[tuple[str, ...], str]
    file: YamlFile

    def place(self, path: KeyPath) -> str:
        """The flag, the variable or the line that set the value at this path, then the rest of the path."""
        if path[:1] and path[0] in self.flags:
            return _dotted(f"--{path[0]}".removesuffix("s").replace("_", "-"), path[1:])
        for length in range(len(path), 0, -1):
            if variable := self.variables.get(tuple(map(str, path[:length]))):
                return _dotted(variable, path[length:])
        for length in range(len(path), 0, -1):
            if line := self.file.lines.get(path[:length]):
                return f"{self.file.path}:{line}: {_dotted('', path)}"
        return _dotted("", path)


def describe(error: ValidationError, data: Mapping[str, Any], sources: Sources) -> str:
    """One line for each thing that is wrong."""
    problems: dict[KeyPath, list[ErrorDetails]] = {}
    for details in error.errors():
        problems.setdefault(_path(details, data), []).append(details)
    lines = [
        f"{sources.place(path)}: {_reason(path, details)}"
        for path, details in problems.items()
        if not _follows_from_another(path, details, problems)
    ]
    return lines[0] if len(lines) == 1 else f"the configuration has {len(lines)} errors:\n  " + "\n  ".join(lines)


def closest(name: str, names: Iterable[str]) -> str:
    """`; did you mean NAME?`, or "" if no name is like the given one."""
    matches = get_close_matches(name, list(names), n=1)
    return f"; did you mean {matches[0]}?" if matches else ""


def _path(details: ErrorDetails, data: Any) -> KeyPath:
    """The way to the value. pydantic also names the members of a union, which are no keys."""
    path: list[str | int] = []
    for step in details["loc"]:
        if _has(data, step):
            data = data[step]
        elif details["type"] != "missing":
            continue
        path.append(step)
    return tuple(path)


def _has(data: Any, step: str | int) -> bool:
    if isinstance(data, list | tuple):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, Mapping) and step in data


def _follows_from_another(
    path: KeyPath, details: Sequence[ErrorDetails], problems: Mapping[KeyPath, Sequence[ErrorDetails]]
) -> bool:
    # A list with one wrong entry is no fitting member of a union either; the entry is what is wrong.
    if any(len(other) > len(path) and other[: len(path)] == path for other in problems):
        return True
    # A misspelt key leaves the right one missing.
    misspelt = [str(other[-1]) for other in problems if other[:-1] == path[:-1] and other != path]
    return details[0]["type"] == "missing" and bool(get_close_matches(str(path[-1]), misspelt))


def _reason(path: KeyPath, details: Sequence[ErrorDetails]) -> str:
    first = details[0]
    if first["type"] == "extra_forbidden":
        return f"there is no such key{_hint(path, first['input'])}"
    reason = _form(path, first["type"]) or " or ".join(dict.fromkeys(_plain(entry["msg"]) for entry in details))
    # A value in `auth` may be an API key.
    is_shown = first["type"] != "missing" and path[0] != "auth"
    return f"{reason.replace(' or must be ', ' or ')}; got {_shown(first['input'])}" if is_shown else reason


def _hint(path: KeyPath, value: Any) -> str:
    """What was probably meant by an unknown key."""
    key = str(path[-1])
    if len(path) == 1 and key in ModelConfig.model_fields:
        return f"; {key} is a key of a model: put it below `models`, beside the model's `path`"
    if len(path) == 1 and isinstance(value, Mapping) and value.keys() & Config.model_fields.keys():
        return f"; settings stand at the top level: remove `{key}:` and the indentation below it"
    return closest(key, _keys(path))


def _form(path: KeyPath, kind: str) -> str:
    if kind == "model_type":
        return f"must be {_MODEL}" if path[0] == "models" else "must be a mapping of the keys below it"
    return f"must be a list; each entry is {_MODEL}" if path == ("models",) and kind == "tuple_type" else ""


def _plain(message: str) -> str:
    for theirs, ours in _PHRASES.items():
        message = message.replace(theirs, ours)
    return message


def _keys(path: KeyPath) -> Iterable[str]:
    """The keys that are known where the last key of the path stands."""
    if path[0] == "models" and len(path) > 1:
        return ModelConfig.model_fields
    section: type[BaseModel] = Config
    for key in path[:-1]:
        kind = section.model_fields[str(key)].annotation
        assert isinstance(kind, type)
        section = kind
    return section.model_fields


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _dotted(start: str, path: KeyPath) -> str:
    text = start
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
