"""Where the configuration comes from: a YAML file, HEARTH_* variables and flags, read once."""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from server.config import Config, ConfigError

# Kubernetes puts these into every pod beside a Service named hearth.
_KUBERNETES = re.compile(r"HEARTH_(SERVICE_(HOST|PORT)|PORT_\d+)")


class _Sources(Config, BaseSettings):
    """The configuration while it is read. Flags win over the environment, which wins over the file."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="HEARTH_", env_nested_delimiter="__")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """In the order in which they win."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)


def load_config(file: Path | None = None, **flags: Any) -> Config:
    """Read the configuration once. Flags that are None were not given.

    Raises: ConfigError: file missing, not YAML, an unknown key or a value out of range.
    """
    if file is not None and not file.is_file():
        raise ConfigError(f"no such configuration file: {file}")
    _refuse_unknown_variables()

    class FromFile(_Sources):
        model_config = SettingsConfigDict(yaml_file=file)

    given = {name: value for name, value in flags.items() if value is not None}
    try:
        found = FromFile(**given)
    except ValidationError as error:
        raise ConfigError(_say(error, file)) from error
    except Exception as error:  # the YAML reader and pydantic-settings raise their own
        raise ConfigError(f"{file or 'environment'} cannot be read as configuration: {error}") from error
    # As the plain class, which other processes know too.
    return Config.model_validate(found.model_dump())


def _refuse_unknown_variables() -> None:
    known = {f"HEARTH_{name}".upper() for name in Config.model_fields}
    for variable in os.environ:
        if not variable.startswith("HEARTH_") or _KUBERNETES.match(variable):
            continue
        if variable.split("__")[0] not in known:
            raise ConfigError(f"no such setting, check the spelling of the environment variable: {variable}")
    if os.environ.get("HEARTH_PORT", "").startswith("tcp:"):
        raise ConfigError(
            "HEARTH_PORT was set by Kubernetes for a Service named hearth; put enableServiceLinks: false into the pod"
        )


def _say(error: ValidationError, file: Path | None) -> str:
    lines = [f"{'.'.join(map(str, one['loc']))}: {_reason(one)}" for one in error.errors()]
    return f"configuration ({file or 'no file'}, environment, flags) has {len(lines)} error(s):\n  " + "\n  ".join(
        lines
    )


def _reason(one: Any) -> str:
    if one["type"] == "extra_forbidden":
        return "no such key"
    # What stands in `auth` may be an API key.
    return str(one["msg"]) if one["loc"][:1] == ("auth",) else f"{one['msg']}, got: {one['input']!r}"
