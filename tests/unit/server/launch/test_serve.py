"""What `hearth serve` does before its first request."""

import logging
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from models import NamedPrompts, Preprocessor
from server.config import Config, ConfigError, ModelConfig
from server.launch.serve import _engine_settings, _listen, _log_start
from server.registry import ModelRegistry
from tests.support.server.in_process import served

PROMPTS = NamedPrompts({"query": "Query: "}, default_name="query")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "hearth")
    return caplog


def _start(preprocessor: Preprocessor, *, has_keys: bool = True, **options: object) -> None:
    registry = ModelRegistry([served(preprocessor, "m", **options)])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _log_start(registry, listener, has_keys=has_keys)


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}: "), _listen(Config(port=port)):
            pass


def test_a_default_prompt_that_no_request_gets_is_a_warning(
    embedder_text: Preprocessor, log: pytest.LogCaptureFixture
) -> None:
    _start(replace(embedder_text, prompts=PROMPTS))

    assert "m: its default prompt 'query' is only added if prompt_name asks for it" in log.messages


def test_a_prompt_that_the_configuration_adds_is_none(
    embedder_text: Preprocessor, log: pytest.LogCaptureFixture
) -> None:
    _start(replace(embedder_text, prompts=PROMPTS), prompt_name="query")

    assert not [message for message in log.messages if "default prompt" in message]


@pytest.mark.parametrize(("has_keys", "warnings"), [(True, 0), (False, 1)])
def test_a_server_without_keys_warns(
    embedder_text: Preprocessor, log: pytest.LogCaptureFixture, has_keys: bool, warnings: int
) -> None:
    _start(embedder_text, has_keys=has_keys)

    assert sum("no API keys are configured" in message for message in log.messages) == warnings


def test_each_device_has_an_engine_with_its_models(embedder_text: Preprocessor, tmp_path: Path) -> None:
    models = (ModelConfig(path="a", device="cpu"), ModelConfig(path="b", device=("cpu", "cuda:1")))
    registry = ModelRegistry([served(embedder_text, model.path, device=model.device) for model in models])

    engines = _engine_settings(Config(models=models), registry, tmp_path)

    assert [list(engine.sources) for engine in engines] == [["a", "b"], ["b"]]
    assert [engine.address for engine in engines] == [f"ipc://{tmp_path}/engine-{number}" for number in (0, 1)]
