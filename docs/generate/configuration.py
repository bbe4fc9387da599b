"""docs/configuration.md: every setting, with its key, its environment variable, its flag, its type and its default.

`python -m docs.generate.configuration` writes the page; tests/docs/test_configuration.py keeps it in step.
"""

from collections.abc import Iterator
from textwrap import fill
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_json
from typer.main import get_command

from docs.generate.page import DOCS
from server.cli.main import app
from server.config import Auth, Batching, Config, ModelConfig, RequestLimits
from server.config_sources import ENV_PREFIX, ENV_SEPARATOR

PAGE = DOCS / "configuration.md"
INTRODUCTION = f"""# Configuration

This page is generated from `server/config.py` by `make docs`. [config.yaml](../config.yaml) shows the same settings as
a file to start from.

Every setting is optional except the `path` of a model. A setting comes from, in this order:

1. a flag of `hearth serve`;
2. an environment variable: `{ENV_PREFIX}` and the key in capitals, with `{ENV_SEPARATOR}` for each level;
3. the file of `hearth serve --config FILE`, by default `config.yaml` in the current folder if there is one.

An environment variable holds text, or JSON where the setting is a list:
`{ENV_PREFIX}AUTH{ENV_SEPARATOR}KEYS='["first", "second"]'`. An unknown key, or an unknown variable that begins with
`{ENV_PREFIX}`, stops the start with an error that names it.
"""
MODEL_KEYS = f"""Keys of each entry of `models`. An entry that is a text is the `path`. In the environment
the whole list is JSON in `{ENV_PREFIX}MODELS`, or one hub id or folder as it is."""

# Section title, the keys above its settings, class.
SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("Server", "", Config),
    ("Models", "models[].", ModelConfig),
    ("Limits", "limits.", RequestLimits),
    ("Batching", "batching.", Batching),
    ("Authentication", "auth.", Auth),
)
# `hearth serve --model` takes paths alone, so it is not named after the setting.
FLAGS = {"models": "model"}
DEFAULTS = {
    "models": "all-MiniLM-L6-v2 if installed, and the demo pair",
    "state_folder": "~/.local/state/hearth",
}
TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "`true` or `false`", "object": "object"}

JsonObject = dict[str, Any]


def page() -> str:
    return "\n".join([INTRODUCTION, *(_section(*section) for section in SECTIONS)])


def _section(title: str, prefix: str, section: type[BaseModel]) -> str:
    properties = section.model_json_schema()["properties"]
    settings = [
        _setting(prefix + name, field, properties[name])
        for name, field in section.model_fields.items()
        if not isinstance(field.default, BaseModel)  # a section of its own
    ]
    introduction = MODEL_KEYS if section is ModelConfig else section.__doc__
    return "\n".join([f"## {title}\n", f"{introduction}\n", *settings])


def _setting(key: str, field: FieldInfo, schema: JsonObject) -> str:
    facts = " · ".join([*_names(key), _type(schema), _default(key, field)])
    description = fill(" ".join((field.description or "").split()), 120, break_on_hyphens=False)
    return f"### `{key}`\n\n{facts}\n\n{description}\n"


def _names(key: str) -> Iterator[str]:
    if "[]" not in key:
        yield f"`{ENV_PREFIX}{key.upper().replace('.', ENV_SEPARATOR)}`"
    if flag := _serve_flags().get(FLAGS.get(key, key)):
        yield f"`{flag}`"


def _serve_flags() -> dict[str, str]:
    command = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    return {option.name: option.opts[0] for option in command.params if option.param_type_name == "option"}


def _default(key: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default in (None, ""):
        return "no default value"
    if key in DEFAULTS:
        return f"default {DEFAULTS[key]}"
    return f"default `{field.default if isinstance(field.default, str) else to_json(field.default).decode()}`"


def _type(schema: JsonObject) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"] if option["type"] != "null")
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        entry = schema["items"]
        return f"list of {_type(entry) if 'type' in entry else 'objects'}"
    return TYPES[schema["type"]] + _range(schema)


def _range(schema: JsonObject) -> str:
    if "maximum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    if "exclusiveMinimum" in schema:
        return f" over {schema['exclusiveMinimum']}"
    return f", at least {schema['minimum']}" if "minimum" in schema else ""


def main() -> None:
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
