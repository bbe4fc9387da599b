"""Prepacked linear layers give the results of the library's layers, and so does the network around them."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from models import LoadOptions, load_backend
from models.backends.huggingface.float32_rerun import float32_activations
from models.backends.huggingface.transformers_backend import TransformersBackend
from models.layers import onednn
from models.layers.onednn import PrepackedModule, prepack
from tests.support.networks.one_at_a_time import cosines
from tests.support.networks.tiny_networks import CONFIGS, alone, save
from tests.unit.models.backends.huggingface.test_layouts import vectors

CPU = torch.device("cpu")
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.02}


def states(network: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return network(torch.arange(3, 43)[None]).last_hidden_state.float()  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 32), (1, 7, 32), (2, 3, 32)])
def test_it_multiplies_as_the_plain_layer_does(dtype: torch.dtype, bias: bool, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(32, 48, bias=bias).to(dtype)
    hidden = torch.randn(shape).to(dtype)

    prepacked = PrepackedModule(plain)

    torch.testing.assert_close(prepacked(hidden), plain(hidden), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    torch.testing.assert_close(prepacked(hidden.float()), plain.float()(hidden.float()), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(prepacked.weight.float(), plain.weight, atol=0, rtol=0)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "qwen2", "deepseek_v3"])
def test_a_network_gives_the_same_states(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network: Any = transformers.AutoModel.from_config(CONFIGS[kind]()).eval().to(dtype)
    before, wide = states(network), states_in_float32(network, dtype)

    prepack(network, CPU, dtype)

    assert any(isinstance(part, PrepackedModule) for part in network.modules())
    assert not any(type(part) is nn.Linear for part in network.modules())
    torch.testing.assert_close(states(network), before, atol=TOLERANCE[dtype] * 5, rtol=0.05)
    torch.testing.assert_close(states_in_float32(network, dtype), wide, atol=1e-5, rtol=1e-5)


def states_in_float32(network: nn.Module, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.float32:
        return states(network)
    with float32_activations(network, dtype):
        return states(network)


def test_berts_activation_is_inside_the_product() -> None:
    network: Any = transformers.BertModel(CONFIGS["bert"]())

    prepack(network, CPU, torch.float32)

    between = network.encoder.layer[0].intermediate
    assert between.dense.linear.activation == "gelu"
    assert isinstance(between.intermediate_act_fn, nn.Identity)


def test_another_activation_stays_where_it_is() -> None:
    config = CONFIGS["bert"]()
    config.hidden_act = "relu"
    network: Any = transformers.BertModel(config)

    prepack(network, CPU, torch.float32)

    assert network.encoder.layer[0].intermediate.dense.linear.activation == "none"
    assert not isinstance(network.encoder.layer[0].intermediate.intermediate_act_fn, nn.Identity)


def test_networks_stay_as_they_are_where_it_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "prepacking_works", lambda _dtype: False)
    network: Any = transformers.BertModel(CONFIGS["bert"]())

    prepack(network, CPU, torch.float32)

    assert not any(isinstance(part, PrepackedModule) for part in network.modules())


def test_a_layer_that_multiplies_otherwise_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = save(tmp_path, CONFIGS["bert"]())
    plain = load_backend(tmp_path, info, LoadOptions(dtype="float32", backend="transformers"))
    assert isinstance(plain, TransformersBackend)
    assert cosines(vectors(plain), alone(tmp_path)).min() >= 0.999999
    monkeypatch.setattr(PrepackedModule, "forward", lambda self, hidden: hidden @ self.weight.T)

    with pytest.raises(Exception, match="is not supported"):
        load_backend(tmp_path, info, LoadOptions(dtype="float32", backend="transformers"))
