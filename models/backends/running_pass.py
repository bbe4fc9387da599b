"""The forward pass of one long text on the CPU, which stops between two steps and goes on in a later batch."""

import numpy as np
import torch
from torch import Tensor

from models.chunking import chunk_spans, pass_work
from models.devices import Staging
from models.interface import Ids, Pooling
from models.layers.attention import Attention
from models.layers.chunk_attention import ChunkAttention, KeptKeys
from models.layers.pooler import pool_chunk
from models.layers.shape_buckets import LARGE_MATRIX, padded_tokens
from models.networks.packed_network import PackedBatch, PackedNetwork
from models.packing import AttentionLayout, Branch, Segment, Span


class RunningPass:
    """Computes layer by layer, and in each layer chunk by chunk: it keeps keys and values of one layer at a time.

    How the pass is divided among batches does not change its result. Belongs to the thread that launches.
    """

    def __init__(self, network: PackedNetwork, ids: Ids, dtype: torch.dtype, pooling: Pooling) -> None:
        self._spans, self._pooling = chunk_spans(len(ids)), pooling
        kept = KeptKeys(len(ids))
        reads_all = pooling != "lasttoken"
        self._steps = network.steps([_chunk(ids, span, kept, reads_all=reads_all) for span in self._spans], dtype)
        # The share of the work that is done after each step.
        ends = np.cumsum([pass_work(*span) for span in self._spans] * network.layer_count)
        self._shares = ends / ends[-1]
        self._steps_done = self._chunks_pooled = 0
        self._pooled: Tensor | None = None

    def advance(self, until: float) -> Tensor | None:
        """Compute until at least the share `until` of the work is done.

        Returns: the pooled state, float32 [1, H], if `until` is 1.
        """
        first_enough = int(np.searchsorted(self._shares, until))
        while self._steps_done < min(first_enough + 1, len(self._shares)):
            states = next(self._steps)
            self._steps_done += 1
            if states is not None:
                self._pool(states)
        # The step before may have been the last one already.
        return self._pooled if until == 1 else None

    def _pool(self, states: Tensor) -> None:
        span = self._spans[self._chunks_pooled]
        self._chunks_pooled += 1
        self._pooled = pool_chunk(states, span, self._pooling, self._pooled)


def _chunk(ids: Ids, span: Span, kept: KeptKeys, *, reads_all: bool) -> PackedBatch:
    """One chunk as a packed batch, whose attention sees the chunks before it in `kept`."""
    start, stop = span
    tokens = stop - start
    own = Segment((0, tokens), (0, tokens))
    branches = (Branch((0, tokens), (0, start), 1),) if start else ()
    layout, last = AttentionLayout((own,), branches), np.array([tokens - 1])
    attention: Attention = ChunkAttention(kept, start, tokens, layout)
    padding = padded_tokens(tokens, LARGE_MATRIX) - tokens
    staging = Staging(torch.device("cpu"))
    return PackedBatch(
        tokens=staging.add(np.pad(ids[start:stop].astype(np.int64), (0, padding))),
        positions=staging.add(np.pad(np.arange(start, stop), (0, padding))),
        attention=attention,
        ends=None if reads_all else staging.add(last),
        ends_attention=attention if reads_all else ChunkAttention(kept, start, tokens, layout.at(last)),
    )
