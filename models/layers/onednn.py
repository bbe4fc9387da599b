"""Matrix products on CPUs over weights that oneDNN prepacked. Private operators of torch are checked before use."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.layers.decoder import Gated, Linear
from models.layers.shape_buckets import padded_tokens

log = logging.getLogger("hearth.models")

# The number of tokens that the layout of a weight is optimised for; 256 is within 3% of the best from 1 to 1024 tokens.
LAYOUT_TOKENS = 256
# Attribute names in modules of transformers whose linear layer feeds the activation and nothing else.
LINEAR_THEN_ACTIVATION = (("dense", "intermediate_act_fn"), ("lin1", "activation"))

Activation: TypeAlias = Literal["none", "swish", "gelu"]
ACTIVATE: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda product: product,
    "swish": F.silu,
    "gelu": F.gelu,
}


def layers_for(device: torch.device, dtype: torch.dtype) -> tuple[type[Linear], type[Gated]]:
    """The classes for the matrices of a packed network on this device, in this dtype."""
    return (PrepackedLinear, PrepackedGated) if _can_prepack(device, dtype) else (Linear, Gated)


def prepack(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Prepack the linear layers of a library network in place, one by one, so that at most one is in memory twice."""
    if _can_prepack(device, dtype):
        _prepack(network, dtype)


@contextmanager
def float32_products(*, exact: bool) -> Iterator[None]:
    """While open, oneDNN multiplies float32 matrices, more than twice as fast as the default on some processors.

    oneDNN may round the factors to bfloat16, which changes nothing if they were bfloat16 before. For other factors
    (`exact`) it is used only if a test product shows no rounding.
    """
    precisions = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = precisions.fp32_precision
    if not exact or _is_exact():
        precisions.fp32_precision = "bf16"
    try:
        yield
    finally:
        precisions.fp32_precision = before


class PrepackedLinear(Linear):
    """Linear over a weight in oneDNN's own layout: 60% faster for 16 tokens, 5% faster for 512.

    `bias` and `activation` are applied before the result is rounded to the output's dtype.
    """

    def __init__(self, weight: Tensor, *, bias: Tensor | None = None, activation: Activation = "none") -> None:
        self._dtype, self._bias, self.activation = weight.dtype, bias, activation
        self._elements = weight.numel()
        self._prepacked = torch.ops.mkldnn._reorder_linear_weight(weight, LAYOUT_TOKENS)  # noqa: SLF001

    @property
    def weight(self) -> Tensor:
        """The matrix as it was before prepacking, [rows, columns]; a copy."""
        plain: Tensor = self._prepacked.to_dense()
        return plain

    def __call__(self, hidden: Tensor) -> Tensor:
        """[..., columns] -> [..., rows]; for input of another dtype the weight is unpacked and cast to it."""
        if hidden.dtype == self._dtype:
            multiply = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001
            # The last argument is the approximation of GELU: "none" is the exact one, by erf.
            rows = _pad_rows(hidden, self._elements)
            product: Tensor = multiply(rows, self._prepacked, self._bias, self.activation, [], "none")
            return product if rows is hidden else product[: hidden.shape[:-1].numel()].view(*hidden.shape[:-1], -1)
        bias = None if self._bias is None else self._bias.to(hidden.dtype)
        return ACTIVATE[self.activation](F.linear(hidden, self.weight.to(hidden.dtype), bias))


class PrepackedGated(Gated):
    """Gated with SiLU fused into the product of the gate: saves one pass over [T, intermediate] and one rounding."""

    def __init__(self, gate_up: Tensor) -> None:
        gate, up = gate_up.chunk(2)
        self._gate, self._up = PrepackedLinear(gate, activation="swish"), PrepackedLinear(up)

    def __call__(self, hidden: Tensor) -> Tensor:
        """[T, H] -> [T, intermediate]."""
        return self._gate(hidden).mul_(self._up(hidden))


def _pad_rows(hidden: Tensor, elements: int) -> Tensor:
    """`hidden` [..., H] as [n, H] with rows of zeros up to padded_tokens(); itself if it has that many rows."""
    count = hidden.shape[:-1].numel()
    padding = padded_tokens(count, elements) - count
    return F.pad(hidden.reshape(count, -1), (0, 0, 0, padding)) if padding else hidden


class PrepackedModule(nn.Module):
    """Replaces an nn.Linear by a PrepackedLinear."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias  # some networks read it (Mamba)
        # Not a parameter or buffer, so that nothing can change its dtype or move it.
        self.linear = PrepackedLinear(linear.weight.detach(), bias=linear.bias)

    @property
    def weight(self) -> Tensor:
        """The matrix as nn.Linear holds it; a copy."""
        return self.linear.weight

    def forward(self, hidden: Tensor) -> Tensor:
        return self.linear(hidden)


def _can_prepack(device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cpu" and prepacking_works(dtype)


@cache
def prepacking_works(dtype: torch.dtype) -> bool:
    """Whether this torch has the operators, and they give the products of the plain layers and the weight back."""
    random = torch.Generator().manual_seed(0)
    weight, hidden = (torch.randn(rows, 64, generator=random).div_(8).to(dtype) for rows in (96, 33))
    try:
        linear, gated = PrepackedLinear(weight), PrepackedGated(weight)
        pairs = [
            (linear(hidden), F.linear(hidden.float(), weight.float())),
            (gated(hidden), Gated(weight)(hidden.float())),
            (linear.weight, weight),
        ]
        same = all(torch.allclose(ours.float(), plain.float(), rtol=0.02, atol=0.01) for ours, plain in pairs)
    except (RuntimeError, AttributeError, NotImplementedError) as error:
        log.warning(
            "prepacked oneDNN weights are not available, so matrix products are slower: %s", str(error).split("\n")[0]
        )
        return False
    if not same:
        log.warning("products of prepacked oneDNN weights differ from plain products; prepacking is not used")
    return same


def _prepack(module: nn.Module, dtype: torch.dtype) -> None:
    # By name, without a list of modules: a list would keep the plain layers and their weights in memory.
    for name in [name for name, _ in module.named_children()]:
        child = getattr(module, name)
        # Not a subclass, which may use its weight differently.
        if type(child) is nn.Linear and child.weight.dtype == dtype:
            setattr(module, name, PrepackedModule(child))
        else:
            _prepack(child, dtype)
    for linear, activation in LINEAR_THEN_ACTIVATION:
        _fuse(module, linear, activation)


def _fuse(module: Any, linear: str, activation: str) -> None:
    from transformers.activations import GELUActivation

    layer, function = getattr(module, linear, None), getattr(module, activation, None)
    if isinstance(layer, PrepackedModule) and type(function) is GELUActivation:
        layer.linear.activation = "gelu"
        setattr(module, activation, nn.Identity())


@cache
def _is_exact() -> bool:
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 4, 64, 64, generator=random)
    with float32_products(exact=False):
        product = torch.bmm(a, b)
    return torch.allclose(product.double(), torch.bmm(a.double(), b.double()), atol=1e-4)
