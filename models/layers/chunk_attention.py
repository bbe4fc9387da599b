"""Causal attention on CPUs for one chunk of a text, whose earlier keys and values are kept as products want them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.layers.cpu_attention import KeysValues, attend, attend_blocks, forest_blocks
from models.layers.onednn import float32_products
from models.layers.shape_buckets import padded_keys
from models.packing import AttentionLayout


class KeptKeys:
    """Keys in float32 and values of one text in one layer, [K, n, D]; each layer writes over those of the last one."""

    def __init__(self, tokens: int) -> None:
        # After the last key come zeros: the value of a hidden key is multiplied by zero, which must not give NaN.
        self._length = padded_keys(tokens)
        self._keys_values: KeysValues | None = None

    def write(self, start: int, key: Tensor, value: Tensor) -> KeysValues:
        """Keep keys and values [n, K, D] of the tokens from `start` on, and return those of the whole text."""
        if self._keys_values is None:
            shape = (key.shape[1], self._length, key.shape[2])
            self._keys_values = torch.zeros(shape), torch.zeros(shape, dtype=value.dtype)
        for kept, new in zip(self._keys_values, (key, value), strict=True):
            kept[:, start : start + len(new)].copy_(new.transpose(0, 1))
        return self._keys_values


class ChunkAttention:
    """Implements Attention for the chunk that starts at token `start`, 0 or at least ALL_HEADS_KEYS.

    In the layout the tokens before it are source 1. Each layer calls it once a chunk, from the first to the last.
    """

    def __init__(self, kept: KeptKeys, start: int, tokens: int, layout: AttentionLayout) -> None:
        self._kept, self._start, self._tokens = kept, start, tokens
        self._groups = list(forest_blocks(layout))
        self._blocks = [block for group in self._groups for block in group.blocks]

    def __call__(self, query: Tensor, sources: Sequence[KeysValues]) -> Tensor:
        key, value = (states[: self._tokens] for states in sources[0])
        keys, values = self._kept.write(self._start, key, value)
        scale = query.shape[-1] ** -0.5
        if not self._start:
            return attend(query, [(key, value)], self._groups, scale)
        out = torch.empty(query.shape, dtype=query.dtype)
        out[self._blocks[-1].queries[1] :].zero_()
        with float32_products(exact=query.dtype == torch.float32):
            attend_blocks(query, keys, values, self._blocks, scale, out)
        return out
