"""The interface between the packed backend and its networks; each network is one file of this folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from models.devices import Staging
from models.layers.attention import Attention
from models.layers.cpu_attention import KeysValues
from models.packing import AttentionLayout, Span


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """One packed batch of T tokens on the device.

    tokens, positions: int64 [T].
    attention: attention for the queries of all tokens.
    ends: indexes of the tokens whose final states are needed, int64 [E], ascending; None means every token.
    ends_attention: attention for the queries at `ends` only.
    cached: keys and values of the cached prefixes, by prefix and then by layer.
    span_to_cache: the tokens whose keys and values the caller wants to cache.
    new_cache_entry: the network appends the keys and values of that span, layer by layer.
    """

    tokens: Tensor
    positions: Tensor
    attention: Attention
    ends: Tensor | None
    ends_attention: Attention
    cached: Sequence[Sequence[KeysValues]] = ()
    span_to_cache: Span | None = None
    new_cache_entry: list[KeysValues] = field(default_factory=list)


class PackedNetwork(Protocol):
    """A network without its head. One thread runs it. The constructor takes (config, weights, table_rows)."""

    @property
    def head_dim(self) -> int:
        """The width of one attention head, D."""
        ...

    @property
    def embed_tokens(self) -> Tensor:
        """The token table, [V, H]; also the head of a checkpoint with tied embeddings."""
        ...

    @property
    def layer_count(self) -> int:
        """How many layers steps() goes through."""
        ...

    def prepare_attention(
        self, layout: AttentionLayout, staging: Staging, dtype: torch.dtype, cached: Sequence[Sequence[KeysValues]]
    ) -> Attention:
        """Attention over a layout for one call with activations of `dtype`; call it before staging.send().

        cached: as in PackedBatch.
        """
        ...

    def __call__(self, batch: PackedBatch, dtype: torch.dtype) -> Tensor:
        """States after the final norm, float32, [E, H] or [T, H], computed with activations of `dtype`."""
        ...

    def steps(self, chunks: Sequence[PackedBatch], dtype: torch.dtype) -> Iterator[Tensor | None]:
        """The same for the chunks of one text, step by step: layer by layer, and in each layer chunk by chunk.

        The attention of a chunk is called after that of the chunks before it. A step of the last layer yields the
        states of its chunk, any other step None.
        """
        ...
