"""Reads the configuration once: from a YAML file, HEARTH_* environment variables and flags."""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from server.config import Config, ConfigError

ENV_PREFIX = "HEARTH_"
ENV_SEPARATOR = "__"

# Kubernetes sets these in every pod beside a Service named hearth.
_KUBERNETES = re.compile(r"HEARTH_(SERVICE_(HOST|PORT)|PORT_\d+)")


class _Sources(Config, BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_nested_delimiter=ENV_SEPARATOR
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Earlier sources override later ones."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)


def load_config(file: Path | None = None, **flags: Any) -> Config:
    """Read the configuration. A flag that is None was not set.

    Raises: ConfigError: the file is missing or not YAML, a key is unknown, or a value is out of range.
    """
    if file is not None and not file.is_file():
        raise ConfigError(f"no such configuration file: {file}")
    _check_variables()

    class FromFile(_Sources):
        model_config = SettingsConfigDict(yaml_file=file)

    try:
        settings = FromFile(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise ConfigError(_message(error, file)) from error
    except Exception as error:  # the YAML reader and pydantic-settings have exceptions of their own
        raise ConfigError(f"{file or 'environment'} cannot be read as configuration: {error}") from error
    # Child processes can unpickle the plain class, not the local one.
    return Config.model_validate(settings.model_dump())


def _check_variables() -> None:
    known = {f"{ENV_PREFIX}{name}".upper() for name in Config.model_fields}
    for variable in os.environ:
        if not variable.startswith(ENV_PREFIX) or _KUBERNETES.match(variable):
            continue
        if variable.split(ENV_SEPARATOR)[0] not in known:
            raise ConfigError(f"unknown environment variable {variable}: no setting has this name; check the spelling")
    if os.environ.get("HEARTH_PORT", "").startswith("tcp:"):
        raise ConfigError(
            "HEARTH_PORT was set by Kubernetes for a Service named hearth; set enableServiceLinks: false in the pod"
        )


def _message(error: ValidationError, file: Path | None) -> str:
    lines = [f"{'.'.join(map(str, details['loc']))}: {_reason(details)}" for details in error.errors()]
    count = f"{len(lines)} errors" if len(lines) > 1 else "an error"
    return f"the configuration ({file or 'no file'}, environment, flags) has {count}:\n  " + "\n  ".join(lines)


def _reason(details: ErrorDetails) -> str:
    if details["type"] == "extra_forbidden":
        return "no such key"
    # A value in `auth` may be an API key.
    return details["msg"] if details["loc"][:1] == ("auth",) else f"{details['msg']}; got {details['input']!r}"
