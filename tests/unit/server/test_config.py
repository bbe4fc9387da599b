"""Where settings come from, and what is said of those that cannot be."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from models import demo_models
from server.config import Auth, ConfigError, ModelConfig
from server.config_sources import load_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that sets a few things."""
    path = tmp_path / "config.yaml"
    path.write_text("port: 1000\nlimits:\n  inputs: 7\n  documents: 8\nmodels:\n  - path: here\n", "utf-8")
    return path


def test_with_nothing_given_the_demo_pair_is_served_to_this_machine_alone() -> None:
    config = load_config()

    assert [model.path for model in config.models] == list(demo_models())
    assert (config.host, config.port) == ("127.0.0.1", 8000)


def test_a_file_sets_what_it_names(file: Path) -> None:
    config = load_config(file)

    assert (config.port, config.limits.inputs, config.models[0].path) == (1000, 7, "here")
    assert config.limits.request_tokens == 2_000_000


def test_the_environment_wins_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_PORT", "2000")
    monkeypatch.setenv("HEARTH_LIMITS__INPUTS", "9")

    config = load_config(file)

    assert (config.port, config.limits.inputs, config.limits.documents) == (2000, 9, 8)


def test_flags_win_over_both(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_PORT", "2000")

    config = load_config(file, port=3000, host=None, models=(ModelConfig(path="there"),))

    assert (config.port, config.host, config.models[0].path) == (3000, "127.0.0.1", "there")


def test_models_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_MODELS", '[{"path": "a", "aliases": ["b"]}]')

    assert load_config().models == (ModelConfig(path="a", aliases=("b",)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot: 1", "prot: no such key"),
        ("limits: {inptus: 1}", "limits.inptus: no such key"),
        ("models: []", "models: Tuple should have at least 1 item"),
        ("models: [{path: x, dtpe: auto}]", "models.0.dtpe: no such key"),
        ("limits: {inputs: 0}", "limits.inputs: "),
        ("limits: {inputs: many}", "; got 'many'"),
        ("models: [{path: x, dtype: int4}]", "models.0.dtype: "),
        ("models: [{}]", "models.0.path: "),
        ("port: 70000", "port: "),
        ("log_format: xml", "log_format: "),
        ("auth: {keys_file: [1]}", "auth.keys_file: "),
    ],
)
def test_what_cannot_be_is_named_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text, "utf-8")

    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "config.yaml")

    assert message in str(caught.value)
    assert str(tmp_path / "config.yaml") in str(caught.value)


@pytest.mark.parametrize("text", ["{", "- a\n- b\n", "port: [", "just words"])
def test_a_file_that_is_no_configuration_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text, "utf-8")

    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load_config(tmp_path / "config.yaml")


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no such configuration file: nowhere\.yaml"):
        load_config(Path("nowhere.yaml"))


@pytest.mark.parametrize("name", ["HEARTH_PROT", "HEARTH_LIMIT__INPUTS", "HEARTH_", "HEARTH_LIMITS_INPUTS"])
def test_an_unknown_variable_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")

    with pytest.raises(ConfigError, match=f"unknown environment variable {name}: "):
        load_config()


def test_an_unknown_key_in_a_variable_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_LIMITS__INPTUS", "1")

    with pytest.raises(ConfigError, match=r"limits\.inptus: no such key"):
        load_config()


@pytest.mark.parametrize("text", ["auth: {keys: topsecret}", "auth: {keys: [[topsecret]]}", "auth: {key: topsecret}"])
def test_82_a_key_in_the_wrong_place_is_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text, "utf-8")

    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "config.yaml")

    assert "topsecret" not in str(caught.value)


def test_82_keys_do_not_show_when_a_configuration_is_printed() -> None:
    assert "topsecret" not in repr(load_config(auth=Auth(keys=("topsecret",))))


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_config().limits.inputs = 3  # type: ignore[misc]


def test_the_file_of_the_repository_is_valid() -> None:
    assert load_config(Path(__file__).parents[3] / "config.yaml").port == 8000
