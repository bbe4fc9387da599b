"""What is said of a configuration that cannot be used: the place, the value and the fix, once."""

from pathlib import Path

import pytest

from server.config import ConfigError
from server.config_sources import load_config


def _error(tmp_path: Path, text: str) -> str:
    (tmp_path / "config.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "config.yaml")
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host: x\nprot: 1", "config.yaml:2: prot: there is no such key; did you mean port?"),
        ("limits:\n  inptus: 1", "config.yaml:2: limits.inptus: there is no such key; did you mean inputs?"),
        ("qqq: 1", "config.yaml:1: qqq: there is no such key"),
        (
            "device: cuda",
            "config.yaml:1: device: there is no such key; device is a key of a model: put it below `models`, beside",
        ),
        (
            "server:\n  port: 80",
            "config.yaml:1: server: there is no such key; settings stand at the top level: remove `server:` and the",
        ),
        ("models: []", "config.yaml:1: models: must have at least 1 item; got []"),
        (
            "models: 5",
            "config.yaml:1: models: must be a list; each entry is a hub id or folder, or a mapping with `path`",
        ),
        ("models: [3]", "config.yaml:1: models[0]: must be a hub id or folder, or a mapping with `path`; got 3"),
        ("models: [{}]", "config.yaml:1: models[0].path: is required"),
        ("limits: {inputs: 0}", "config.yaml:1: limits.inputs: must be greater than or equal to 1; got 0"),
        ("limits: {inputs: many}", "config.yaml:1: limits.inputs: must be a valid integer; got 'many'"),
        ("limits:", "config.yaml:1: limits: must be a mapping of the keys below it; got None"),
        ("port: 70000", "config.yaml:1: port: must be less than or equal to 65535; got 70000"),
        ("log_format: xml", "config.yaml:1: log_format: must be 'text' or 'json'; got 'xml'"),
        (
            "auth: {keys: [a, '  ']}",
            "config.yaml:1: auth.keys: must be keys that are not empty; remove `keys` to serve",
        ),
        ("auth: {keys_file: [1]}", "config.yaml:1: auth.keys_file: must be the path of a file"),
    ],
)
def test_an_error_names_the_line_the_value_and_the_fix(tmp_path: Path, text: str, message: str) -> None:
    assert _error(tmp_path, text).startswith(message)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        # The right key is missing only because it is misspelt.
        ("{pth: x}", "models[0].pth: there is no such key; did you mean path?"),
        # `device` is text or a list, `matryoshka` a boolean or a list.
        ("{path: x, device: 3}", "models[0].device: must be text or a list; got 3"),
        ("{path: x, matryoshka: [0, 64]}", "models[0].matryoshka[0]: must be greater than or equal to 1; got 0"),
    ],
)
def test_one_mistake_is_one_error(tmp_path: Path, model: str, message: str) -> None:
    assert _error(tmp_path, f"models: [{model}]") == f"config.yaml:1: {message}"


def test_every_mistake_has_a_line_of_its_own(tmp_path: Path) -> None:
    lines = _error(tmp_path, "request_timeout_s: long\nprot: 2").splitlines()

    assert lines == [
        "the configuration has 2 errors:",
        "  config.yaml:1: request_timeout_s: must be a valid number; got 'long'",
        "  config.yaml:2: prot: there is no such key; did you mean port?",
    ]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HEARTH_PROT", "1", "HEARTH_PROT: there is no such setting; did you mean HEARTH_PORT?"),
        (
            "HEARTH_LIMITS_INPUTS",
            "1",
            "HEARTH_LIMITS_INPUTS: there is no such setting; did you mean HEARTH_LIMITS__",
        ),
        (
            "HEARTH_LIMITS__INPTUS",
            "1",
            "HEARTH_LIMITS__INPTUS: there is no such setting; did you mean HEARTH_LIMITS__",
        ),
        (
            "HEARTH_DEVICE",
            "cuda",
            """HEARTH_DEVICE: there is no such setting; device is a key of a model: HEARTH_MODELS='[{"path": ..., "d""",
        ),
        ("HEARTH_MODELS__DTYPE", "bfloat16", "HEARTH_MODELS__DTYPE: there is no such setting; dtype is a key of a"),
        ("HEARTH_PATH", "x", "HEARTH_PATH: there is no such setting; path is a key of a model: HEARTH_MODELS='[{"),
        ("HEARTH_PORT__X", "1", "HEARTH_PORT__X: there is no such setting"),
        ("HEARTH_CANARY_PORT", "7", "HEARTH_CANARY_PORT: there is no such setting"),
        ("HEARTH_", "1", "HEARTH_: there is no such setting"),
        ("HEARTH_PORT", "x", "HEARTH_PORT: must be a valid integer; got 'x'"),
        ("HEARTH_LIMITS", '{"inputs": 0}', "HEARTH_LIMITS.inputs: must be greater than or equal to 1; got 0"),
        ("HEARTH_LIMITS", "5", "HEARTH_LIMITS: must be a mapping of the keys below it; got 5"),
        ("HEARTH_CORS_ORIGINS", "https://x", "HEARTH_CORS_ORIGINS: must be a JSON list, such as "),
        ("HEARTH_AUTH", "x", "HEARTH_AUTH: must be a JSON object, such as "),
        ("HEARTH_MODELS", "[a", "HEARTH_MODELS: must be a hub id or folder, or a JSON list, such as "),
        ("HEARTH_MODELS", '[{"pth": "a"}]', "HEARTH_MODELS[0].pth: there is no such key; did you mean path?"),
    ],
)
def test_an_error_names_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigError) as caught:
        load_config()

    assert str(caught.value).startswith(message)


def test_an_error_names_the_flag_that_overrides_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_PORT", "1")

    with pytest.raises(ConfigError, match=r"^--port: must be less than or equal to 65535; got 70000$"):
        load_config(port=70000)


def test_82_a_key_in_a_variable_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_AUTH__KEYS", "topsecret")

    with pytest.raises(ConfigError) as caught:
        load_config()

    assert "topsecret" not in str(caught.value)
