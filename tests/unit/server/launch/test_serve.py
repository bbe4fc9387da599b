"""What `hearth serve` prepares before it starts its processes."""

import socket
from pathlib import Path

import pytest

from models import Preprocessor
from server.config import Config, ConfigError, ModelConfig
from server.launch.serve import _engine_settings, _listen
from server.registry import ModelRegistry
from tests.support.server.in_process import served


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        with pytest.raises(ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port}: "), _listen(Config(port=port)):
            pass


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_every_interface_of_ipv6_is_every_interface_of_ipv4_too() -> None:
    with _listen(Config(host="::", port=0)) as listeners:
        socket.create_connection(("127.0.0.1", listeners.main.getsockname()[1]), timeout=5).close()


def test_each_device_has_an_engine_with_its_models(embedder_text: Preprocessor, tmp_path: Path) -> None:
    models = (ModelConfig(path="a", device="cpu"), ModelConfig(path="b", device=("cpu", "cuda:1")))
    registry = ModelRegistry([served(embedder_text, model.path, device=model.device) for model in models])

    engines = _engine_settings(Config(models=models), registry, tmp_path)

    assert [list(engine.sources) for engine in engines] == [["a", "b"], ["b"]]
    assert [engine.address for engine in engines] == [f"ipc://{tmp_path}/engine-{number}" for number in (0, 1)]
