"""Reads the configuration once: from a YAML file, HEARTH_* environment variables and flags."""

import json
import os
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from server.config import Config, ConfigError, ModelConfig
from server.config_errors import Sources, closest, describe
from server.config_file import YamlFile, read_yaml

ENV_PREFIX = "HEARTH_"
ENV_SEPARATOR = "__"

# Kubernetes sets these in every pod beside a Service named hearth or hearth-NAME (enableServiceLinks).
_SERVICE_LINK = re.compile(
    r"HEARTH_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT = re.compile(r"HEARTH_(\w+_)?PORT")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")


def load_config(file: Path | None = None, **flags: Any) -> Config:
    """Read the configuration. A flag that is None was not set.

    Raises: ConfigError: the file is missing or not YAML, a key is unknown, or a value is out of range.
    """
    yaml_file = read_yaml(file) if file is not None else YamlFile(Path(), {})
    variables, from_environment = _environment()
    set_flags = {name: value for name, value in flags.items() if value is not None}
    data = _merged(_merged(yaml_file.data, from_environment), set_flags)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(describe(error, data, Sources(frozenset(set_flags), variables, yaml_file))) from error


def forget_keys() -> None:
    """Remove the API keys from the environment of this process, and so from that of every process that it starts."""
    for name in list(os.environ):
        if name.startswith(f"{ENV_PREFIX}AUTH"):
            del os.environ[name]


def _environment() -> tuple[dict[tuple[str, ...], str], dict[str, Any]]:
    """The variable of each key, and the values."""
    variables: dict[tuple[str, ...], str] = {}
    values: dict[str, Any] = {}
    # A section as JSON comes before its single settings, which override it.
    for name in sorted(os.environ, key=lambda name: name.count(ENV_SEPARATOR)):
        text = os.environ[name]
        if not name.startswith(ENV_PREFIX) or is_service_link(name, text):
            continue
        keys = tuple(name.removeprefix(ENV_PREFIX).lower().split(ENV_SEPARATOR))
        field = _field(name, keys)
        variables[keys] = name
        value = _parsed(name, text, field)
        for key in reversed(keys):
            value = {key: value}
        values = _merged(values, value)
    return variables, values


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes set the variable for a Service, so that it is no setting."""
    return bool(_SERVICE_LINK.fullmatch(name) or (_SERVICE_PORT.fullmatch(name) and _SERVICE_URL.match(value)))


def _field(name: str, keys: tuple[str, ...]) -> FieldInfo:
    section: type[BaseModel] | None = Config
    field = None
    for key in keys:
        field = section.model_fields.get(key) if section else None
        if field is None:
            raise ConfigError(f"{name}: there is no such setting{_hint(name, keys)}")
        section = _section(field)
    assert field is not None, "split() returns at least one key"
    return field


def _hint(name: str, keys: tuple[str, ...]) -> str:
    key = keys[-1]
    if key in ModelConfig.model_fields and keys[:-1] in ((), ("model",), ("models",)):
        entry = '"path": ...' if key == "path" else f'"path": ..., "{key}": ...'
        return f"; {key} is a key of a model: {ENV_PREFIX}MODELS='[{{{entry}}}]'"
    return closest(name, [ENV_PREFIX + ENV_SEPARATOR.join(path).upper() for path in _settings(Config)])


def _settings(section: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, field in section.model_fields.items():
        inner = _section(field)
        if inner is None:
            yield (*above, key)
        else:
            yield from _settings(inner, (*above, key))


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _parsed(name: str, text: str, field: FieldInfo) -> Any:
    if _section(field) is None and not _is_list(field.annotation):
        return text
    is_models = field is Config.model_fields["models"]
    try:
        return json.loads(text)
    except ValueError as error:
        if is_models and not text.lstrip().startswith(("[", "{")):
            return text
        # The text may be an API key, so it is not shown.
        raise ConfigError(f"{name}: must be {_json_form(field, is_models=is_models)}") from error


def _json_form(field: FieldInfo, *, is_models: bool) -> str:
    if is_models:
        return """a hub id or folder, or a JSON list, such as '[{"path": "Qwen/Qwen3-Embedding-0.6B"}]'"""
    return (
        """a JSON object, such as '{"inputs": 512}'""" if _section(field) else """a JSON list, such as '["a", "b"]'"""
    )


def _is_list(kind: Any) -> bool:
    if get_origin(kind) in (Annotated, Union, types.UnionType):
        return any(map(_is_list, get_args(kind)))
    return get_origin(kind) is tuple


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings as one. `above` wins, but what only `below` has stays, in their sections too."""
    both = dict(below)
    for key, value in above.items():
        under = both.get(key)
        both[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return both
