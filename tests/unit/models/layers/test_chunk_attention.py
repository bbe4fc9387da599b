"""Attention chunk by chunk is that over the whole text, to the last bit."""

from itertools import pairwise

import pytest
import torch

from models.layers.chunk_attention import ChunkAttention, KeptKeys
from models.layers.cpu_attention import BlockAttention
from models.packing import AttentionLayout, Branch, Segment

BOUNDS = (0, 1024, 1408, 1664, 1701)
PADDING = 3


def _states(seed: int, heads: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(BOUNDS[-1], heads, 16, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _layout(start: int, stop: int) -> AttentionLayout:
    span = (0, stop - start)
    return AttentionLayout((Segment(span, span),), (Branch(span, (0, start), 1),) if start else ())


def _padded(states: torch.Tensor) -> torch.Tensor:
    return torch.cat([states, torch.full((PADDING, *states.shape[1:]), torch.nan, dtype=states.dtype)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_attend_as_the_whole_text_does_in_every_layer(dtype: torch.dtype) -> None:
    whole = BlockAttention(_layout(0, BOUNDS[-1]))
    kept = KeptKeys(BOUNDS[-1])
    chunks = [ChunkAttention(kept, a, b - a, _layout(a, b)) for a, b in pairwise(BOUNDS)]

    for layer in range(2):
        query, key, value = (_states(layer + 10 * n, heads, dtype) for n, heads in enumerate((4, 2, 2)))
        ours = [
            chunk(_padded(query[a:b]), [(_padded(key[a:b]), _padded(value[a:b]))])
            for chunk, (a, b) in zip(chunks, pairwise(BOUNDS), strict=True)
        ]

        assert torch.equal(torch.cat([out[:-PADDING] for out in ours]), whole(query, [(key, value)]))
        assert not any(out[-PADDING:].any() for out in ours[1:])


def test_the_last_query_of_a_chunk_sees_the_whole_text_before_it() -> None:
    *_, start, stop = BOUNDS
    query, key, value = (_states(n, heads, torch.float32) for n, heads in enumerate((4, 2, 2)))
    kept = KeptKeys(stop)
    kept.write(0, key[:start], value[:start])
    last = _layout(start, stop).at(torch.tensor([stop - start - 1]).numpy())

    ours = ChunkAttention(kept, start, stop - start, last)(query[-1:], [(key[start:], value[start:])])

    torch.testing.assert_close(ours, BlockAttention(_layout(0, stop))(query, [(key, value)])[-1:])
