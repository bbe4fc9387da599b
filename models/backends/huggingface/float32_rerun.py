"""Runs a library network with float32 activations, one layer of its weights widened at a time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

# A larger table is looked up as it is: its rows are widened, not the 150,000 entries of a vocabulary.
MAX_TABLE_NUMBERS = 2**22


@contextmanager
def float32_activations(network: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """While open, `network` (of `dtype`) computes in float32, with memory for one more layer only."""
    with ExitStack() as undo:
        for part, is_layer in _parts(network):
            wide = _Wide(part, dtype)
            if is_layer:
                undo.callback(part.register_forward_pre_hook(lambda _module, _inputs, wide=wide: wide.open()).remove)
                close = part.register_forward_hook(lambda *_, wide=wide: wide.close(), always_call=True)
                undo.callback(close.remove)
            elif isinstance(part, nn.Embedding) and part.weight.numel() > MAX_TABLE_NUMBERS:
                undo.callback(part.register_forward_hook(lambda _module, _inputs, output: output.float()).remove)
            else:
                # At once, for some networks read such weights without a call (DeBERTa: rel_embeddings).
                wide.open()
                undo.callback(wide.close)
        yield


class _Wide:
    """The weights of one part; what is in float32 already (a router's correction, rotary tables) stays as it is."""

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
    """The layers of the network, and every module with weights of its own outside them; and which of both it is."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from ((layer, True) for layer in child)
        elif any(True for _ in child.parameters(recurse=False)):
            yield child, False
        else:
            yield from _parts(child)
