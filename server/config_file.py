"""Reads the files of the configuration: text in UTF-8, and YAML with the line of every key."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from server.config import ConfigError

# A few lines of aliases of aliases stand for billions of values.
MAX_VALUES = 100_000

# The way to a value: keys of mappings and indexes of lists.
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class YamlFile:
    """The content of a configuration file; `lines` has the line of every key and list entry."""

    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int] = field(default_factory=dict)


def read_text(path: Path, what: str) -> str:
    """The text of a regular file, without a byte-order mark. `what` names the file in errors.

    Raises: ConfigError: there is no such file, it is no regular file, it cannot be read, or it is not UTF-8.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            # Reading a FIFO would wait for a writer, at SIGHUP once more.
            raise ConfigError(f"{what} must be a regular file; '{path}' is {_file_type(mode)}")
        return path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{what} does not exist: '{path}'") from error
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: '{path}': {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} must be text in UTF-8; '{path}' is not") from error


def read_yaml(path: Path) -> YamlFile:
    """Read a configuration file.

    Raises: ConfigError: as read_text(); the text is not YAML, has a key twice, or is no mapping.
    """
    text = read_text(path, "the configuration file")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: this is not YAML: {error.problem}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: the values are nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-99-99
        raise ConfigError(f"{path}: this is not YAML: {error}") from error
    if node is None or data is None:
        return YamlFile(path, {})
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected lines of the form `key: value`, such as `port: 8000`")
    lines = dict(islice(_lines(node, (), path, frozenset()), MAX_VALUES + 1))
    if len(lines) > MAX_VALUES:
        raise ConfigError(
            f"{path}: more than {MAX_VALUES} values, counting those of an alias (*name) wherever it stands"
        )
    return YamlFile(path, data, lines)


def _lines(node: yaml.Node, above: KeyPath, path: Path, parents: frozenset[int]) -> Iterator[tuple[KeyPath, int]]:
    if id(node) in parents:  # an alias within its own anchor: &a [*a]
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: this value contains itself")
    parents |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        for index, entry in enumerate(node.value):
            yield (*above, index), entry.start_mark.line + 1
            yield from _lines(entry, (*above, index), path, parents)
    if not isinstance(node, yaml.MappingNode):
        return
    first_lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key in first_lines:
            raise ConfigError(
                f"{path}:{line}: the key {key!r} is here a second time; the first is in line {first_lines[key]}"
            )
        first_lines[key] = line
        yield (*above, key), line
        # A merged mapping (<<: *name) is checked where it is written.
        if key != "<<":
            yield from _lines(value_node, (*above, key), path, parents)


def _file_type(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO (a named pipe)"
    return "a device or socket"
