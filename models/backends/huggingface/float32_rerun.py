"""Runs a library network with float32 activations, casting the weights of one layer at a time to float32."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

# For a larger table only the looked-up rows are cast to float32, not the 150,000 rows of a vocabulary.
MAX_TABLE_NUMBERS = 2**22


@contextmanager
def float32_activations(network: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """While open, `network` (of `dtype`) computes in float32. It needs additional memory for one layer only."""
    with ExitStack() as undo:
        for part, is_layer in _parts(network):
            wide = _WidenedWeights(part, dtype)
            if is_layer:
                undo.callback(part.register_forward_pre_hook(lambda _module, _inputs, wide=wide: wide.open()).remove)
                close = part.register_forward_hook(lambda *_, wide=wide: wide.close(), always_call=True)
                undo.callback(close.remove)
            elif isinstance(part, nn.Embedding) and part.weight.numel() > MAX_TABLE_NUMBERS:
                undo.callback(part.register_forward_hook(lambda _module, _inputs, output: output.float()).remove)
            else:
                # For the whole time, because some networks read such weights without a call (DeBERTa: rel_embeddings).
                wide.open()
                undo.callback(wide.close)
        yield


class _WidenedWeights:
    """Casts the weights of one module to float32 and back.

    Tensors that are float32 already (the correction bias of a router, rotary tables) stay unchanged.
    """

    def __init__(self, part: nn.Module, dtype: torch.dtype) -> None:
        self._part, self._dtype = part, dtype
        self._narrow: list[tuple[Tensor, Tensor]] = []

    def open(self) -> None:
        for tensor in chain(self._part.parameters(), self._part.buffers()):
            if tensor.dtype == self._dtype:
                self._narrow.append((tensor, tensor.data))
                tensor.data = tensor.data.float()

    def close(self) -> None:
        for tensor, narrow in self._narrow:
            tensor.data = narrow
        self._narrow.clear()


def _parts(module: nn.Module) -> Iterator[tuple[nn.Module, bool]]:
    """The modules with weights of their own, and whether each is a layer; a layer counts as one module."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from ((layer, True) for layer in child)
        elif any(True for _ in child.parameters(recurse=False)):
            yield child, False
        else:
            yield from _parts(child)
