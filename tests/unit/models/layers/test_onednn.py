"""onednn: packed weights multiply as plain ones do, can be widened, and are left aside where they do not work."""

import logging
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from models.layers import onednn
from models.layers.decoder import Gated, Linear
from models.layers.onednn import PackedGated, PackedLinear, layers_for

CPU = torch.device("cpu")
packs = pytest.mark.skipif(not onednn.works(torch.float32), reason="this torch has no oneDNN")


def drawn(rows: int, columns: int = 64) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) / 8


@pytest.fixture
def asked_anew() -> Iterator[None]:
    onednn.works.cache_clear()
    yield
    onednn.works.cache_clear()


@packs
@pytest.mark.parametrize("tokens", [1, 3, 16, 300])
def test_a_packed_product_equals_the_plain_one(tokens: int) -> None:
    hidden, weight = drawn(tokens), drawn(96)

    torch.testing.assert_close(PackedLinear(weight)(hidden), Linear(weight)(hidden), rtol=1e-5, atol=1e-5)


@packs
@pytest.mark.parametrize("tokens", [1, 3, 16, 300])
def test_a_packed_gate_equals_the_plain_one(tokens: int) -> None:
    hidden, weight = drawn(tokens), drawn(96)

    torch.testing.assert_close(PackedGated(weight)(hidden), Gated(weight)(hidden), rtol=1e-5, atol=1e-5)


@packs
def test_wider_input_is_multiplied_by_the_widened_weight() -> None:
    hidden, weight = drawn(5), drawn(96).bfloat16()

    torch.testing.assert_close(PackedLinear(weight)(hidden), F.linear(hidden, weight.float()))
    torch.testing.assert_close(PackedGated(weight)(hidden), Gated(weight)(hidden))


@packs
def test_a_processor_gets_packed_layers() -> None:
    assert layers_for(CPU, torch.float32) == (PackedLinear, PackedGated)


@pytest.mark.usefixtures("asked_anew")
def test_a_torch_without_the_operators_gets_plain_layers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_args: object) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr(PackedLinear, "__init__", gone)

    with caplog.at_level(logging.WARNING):
        assert layers_for(CPU, torch.float32) == (Linear, Gated)
    assert "no such operator" in caplog.text


@pytest.mark.usefixtures("asked_anew")
def test_operators_that_give_other_numbers_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(PackedLinear, "__call__", lambda _self, hidden: hidden.new_zeros(len(hidden), 96))

    with caplog.at_level(logging.WARNING):
        assert layers_for(CPU, torch.float32) == (Linear, Gated)
    assert "give other products" in caplog.text
