"""What the packed backend hands to a network of ours, and what it asks of it. One network per file implements it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from models.layers.attention import Attention
from models.layers.cpu_attention import KeysValues
from models.packing import Span


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """One packed batch of T tokens on the device.

    tokens, positions: int64 [T].
    ends: the tokens whose final states are read, int64 [E], ascending; None reads every token.
    ends_attention: attention for the queries at `ends` alone.
    cached: keys and values of the cached prefixes, by prefix and then by layer.
    remember: the span of tokens whose keys and values the caller wants to cache.
    memory: receives the keys and values of that span, layer by layer.
    """

    tokens: Tensor
    positions: Tensor
    attention: Attention
    ends: Tensor | None
    ends_attention: Attention
    cached: Sequence[Sequence[KeysValues]] = ()
    remember: Span | None = None
    memory: list[KeysValues] = field(default_factory=list)


class PackedNetwork(Protocol):
    """A network without its head; one thread runs it. The constructor takes (config, weights, table_rows)."""

    @property
    def head_dim(self) -> int:
        """The width of one attention head, D."""
        ...

    @property
    def embed_tokens(self) -> Tensor:
        """The token table, [V, H]; also the head of a checkpoint with tied embeddings."""
        ...

    def __call__(self, batch: PackedBatch, dtype: torch.dtype) -> Tensor:
        """States after the final norm, float32, [E, H] or [T, H], computed with activations of `dtype`."""
        ...
