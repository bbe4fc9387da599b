"""A library network's linear layers over weights in oneDNN's own layout: products are faster on CPUs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.onednn import LAYOUT_TOKENS, works

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
