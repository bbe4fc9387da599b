"""Matrix products on CPUs over weights that oneDNN has laid out once. Private operators of torch, tried before use."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.decoder import Gated, Linear

log = logging.getLogger("hearth.models")

# The number of tokens that the layout is made for; 256 was within 3% of the best from 1 to 1024.
LAYOUT_TOKENS = 256


class PackedLinear(Linear):
    """Linear over a weight in oneDNN's own layout: 1.6 times as fast for a query of 16 tokens, 5% at 512."""

    def __init__(self, weight: Tensor, *, then: Literal["none", "swish"] = "none") -> None:
        self._dtype, self._then = weight.dtype, then
        self._laid_out = torch.ops.mkldnn._reorder_linear_weight(weight, LAYOUT_TOKENS)  # noqa: SLF001

    @property
    def weight(self) -> Tensor:
        """The weight as it was given; a copy."""
        plain: Tensor = self._laid_out.to_dense()
        return plain

    def __call__(self, hidden: Tensor) -> Tensor:
        """Multiply: [T, columns] -> [T, rows]; `then` is applied before rounding to the output's dtype."""
        if hidden.dtype != self._dtype:
            product = super().__call__(hidden)
            return product if self._then == "none" else F.silu(product)
        multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
        fused: Tensor = multiply(hidden, self._laid_out, None, self._then, [], "")
        return fused


class PackedGated(Gated):
    """Gated with the SiLU inside the gate's product: one pass over [T, intermediate] less, and one rounding less."""

    def __init__(self, gate_up: Tensor) -> None:
        gate, up = gate_up.chunk(2)
        self._gate, self._up = PackedLinear(gate, then="swish"), PackedLinear(up)

    def __call__(self, hidden: Tensor) -> Tensor:
        """silu(gate) * up: [T, H] -> [T, intermediate]."""
        return self._gate(hidden).mul_(self._up(hidden))


def layers_for(device: torch.device, dtype: torch.dtype) -> tuple[type[Linear], type[Gated]]:
    """The classes to hold a network's matrices in."""
    return (PackedLinear, PackedGated) if device.type == "cpu" and works(dtype) else (Linear, Gated)


@cache
def works(dtype: torch.dtype) -> bool:
    """Whether this torch has the operators, and they give what the plain layers give, and the weight back."""
    random = torch.Generator().manual_seed(0)
    weight, hidden = (torch.randn(rows, 64, generator=random).div_(8).to(dtype) for rows in (96, 33))
    try:
        linear, gated = PackedLinear(weight), PackedGated(weight)
        pairs = [
            (linear(hidden), F.linear(hidden.float(), weight.float())),
            (gated(hidden), Gated(weight)(hidden.float())),
            (linear.weight, weight),
        ]
        same = all(torch.allclose(one.float(), other.float(), rtol=0.02, atol=0.01) for one, other in pairs)
    except (RuntimeError, AttributeError, NotImplementedError) as error:
        log.warning("oneDNN's packed weights cannot be used here, products are slower: %s", str(error).split("\n")[0])
        return False
    if not same:
        log.warning("oneDNN's packed weights give other products here and are not used")
    return same


@contextmanager
def float32_products(*, exact: bool) -> Iterator[None]:
    """Let oneDNN multiply float32 matrices here, more than twice as fast as the default library on some processors.

    It may round the factors to bfloat16 on the way. Factors that come from bfloat16 lose nothing by that; for others
    (`exact`) it is used only where it was seen to round nothing.
    """
    precisions = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = precisions.fp32_precision
    if not exact or _rounds_nothing():
        precisions.fp32_precision = "bf16"
    try:
        yield
    finally:
        precisions.fp32_precision = before


@cache
def _rounds_nothing() -> bool:
    random = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 4, 64, 64, generator=random)
    with float32_products(exact=False):
        product = torch.bmm(one, other)
    return torch.allclose(product.double(), torch.bmm(one.double(), other.double()), atol=1e-4)


# In these modules of the library the activation is all that happens to the linear layer's output.
ACTIVATED = (("dense", "intermediate_act_fn"), ("lin1", "activation"))


def prepack(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Exchange every linear layer of `network`, one after another, so that at most one lies in memory twice."""
    if device.type == "cpu" and works(dtype):
        _prepack(network, dtype)


def _prepack(module: nn.Module, dtype: torch.dtype) -> None:
    # By name, and no list of modules: whatever still holds a plain layer holds its weight.
    for name in [name for name, _ in module.named_children()]:
        child = getattr(module, name)
        # Not of a subclass: what it does with its weight is not known.
        if type(child) is nn.Linear and child.weight.dtype == dtype:
            setattr(module, name, PrepackedLinear(child))
        else:
            _prepack(child, dtype)
    for linear, activation in ACTIVATED:
        _fuse(module, linear, activation)


def _fuse(module: Any, linear: str, activation: str) -> None:
    from transformers.activations import GELUActivation

    first, then = getattr(module, linear, None), getattr(module, activation, None)
    if isinstance(first, PrepackedLinear) and type(then) is GELUActivation:
        first.then = "gelu"
        setattr(module, activation, nn.Identity())


class PrepackedLinear(nn.Module):
    """What nn.Linear computes, and the activation behind it if `then` is "gelu"; any input wider than its weight."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias, self.then = linear.bias, "none"
        # No parameter or buffer: nothing may change its dtype or move it.
        weight = linear.weight.detach()
        self._laid_out = (weight.dtype, torch.ops.mkldnn._reorder_linear_weight(weight, LAYOUT_TOKENS))  # noqa: SLF001

    @property
    def weight(self) -> Tensor:
        """The matrix as nn.Linear holds it; a copy."""
        plain: Tensor = self._laid_out[1].to_dense()
        return plain

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., columns] -> [..., rows]."""
        dtype, weight = self._laid_out
        if hidden.dtype == dtype:
            multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
            fused: Tensor = multiply(hidden, weight, self.bias, self.then, [], "none")
            return fused
        bias = None if self.bias is None else self.bias.to(hidden.dtype)
        product = F.linear(hidden, self.weight.to(hidden.dtype), bias)
        return F.gelu(product) if self.then == "gelu" else product
