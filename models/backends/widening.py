"""Runs a library network with float32 activations, one part of its weights widened at a time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def widened(network: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """While open, `network` (of `dtype`) computes in float32, with memory for one more layer only."""
    with ExitStack() as hooks:
        for part in _parts(network):
            for handle in _hook(part, dtype):
                hooks.callback(handle.remove)
        yield


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of the network, and every module with weights of its own outside them."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        elif any(True for _ in child.parameters(recurse=False)):
            yield child
        else:
            yield from _parts(child)


def _hook(part: nn.Module, dtype: torch.dtype) -> list[Any]:
    if isinstance(part, nn.Embedding):
        # A table is looked up as it is: its rows are widened, not its 150,000 entries.
        return [part.register_forward_hook(lambda _module, _inputs, output: output.float())]
    return [
        part.register_forward_pre_hook(lambda module, _inputs: module.float() and None),
        # Back to `dtype` is exact: every number came from there.
        part.register_forward_hook(lambda module, _inputs, _output: module.to(dtype) and None, always_call=True),
    ]
