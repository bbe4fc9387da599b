"""onednn: prepacked weights multiply as plain ones do, can be widened, and are left aside where they do not work."""

import logging
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from models.layers import onednn
from models.layers.decoder import Gated, Linear
from models.layers.onednn import PrepackedGated, PrepackedLinear, layers_for

CPU = torch.device("cpu")
prepacks = pytest.mark.skipif(not onednn.prepacking_works(torch.float32), reason="this torch has no oneDNN")


def drawn(rows: int, columns: int = 64) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) / 8


@pytest.fixture
def checked_anew() -> Iterator[None]:
    onednn.prepacking_works.cache_clear()
    yield
    onednn.prepacking_works.cache_clear()


@prepacks
@pytest.mark.parametrize("tokens", [1, 3, 16, 300])
def test_a_prepacked_product_equals_the_plain_one(tokens: int) -> None:
    hidden, weight = drawn(tokens), drawn(96)

    torch.testing.assert_close(PrepackedLinear(weight)(hidden), Linear(weight)(hidden), rtol=1e-5, atol=1e-5)


@prepacks
@pytest.mark.parametrize("tokens", [1, 3, 16, 300])
def test_a_prepacked_gate_equals_the_plain_one(tokens: int) -> None:
    hidden, weight = drawn(tokens), drawn(96)

    torch.testing.assert_close(PrepackedGated(weight)(hidden), Gated(weight)(hidden), rtol=1e-5, atol=1e-5)


@prepacks
def test_wider_input_is_multiplied_by_the_widened_weight() -> None:
    hidden, weight = drawn(5), drawn(96).bfloat16()

    torch.testing.assert_close(PrepackedLinear(weight)(hidden), F.linear(hidden, weight.float()))
    torch.testing.assert_close(PrepackedGated(weight)(hidden), Gated(weight)(hidden))


@prepacks
def test_a_processor_gets_prepacked_layers() -> None:
    assert layers_for(CPU, torch.float32) == (PrepackedLinear, PrepackedGated)


@pytest.mark.usefixtures("checked_anew")
def test_a_torch_without_the_operators_gets_plain_layers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_args: object) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr(PrepackedLinear, "__init__", gone)

    with caplog.at_level(logging.WARNING):
        assert layers_for(CPU, torch.float32) == (Linear, Gated)
    assert "no such operator" in caplog.text


@pytest.mark.usefixtures("checked_anew")
def test_operators_that_give_other_numbers_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(PrepackedLinear, "__call__", lambda _self, hidden: hidden.new_zeros(len(hidden), 96))

    with caplog.at_level(logging.WARNING):
        assert layers_for(CPU, torch.float32) == (Linear, Gated)
    assert "differ from plain products" in caplog.text
