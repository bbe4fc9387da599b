"""Every query is in one block, where it sees exactly the keys that its rule allows."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers.cpu_attention import MAX_BLOCK_QUERIES, MAX_JOINED_KEYS, Block, sequence_blocks

lengths_of_texts = st.lists(st.integers(1, 300), min_size=1, max_size=12)


def spans_of(lengths: list[int]) -> list[tuple[int, int]]:
    return list(pairwise(np.cumsum([0, *lengths]).tolist()))


def blocks_of(spans: list[tuple[int, int]], *, causal: bool, window: int | None) -> list[Block]:
    """Every block, with its keys counted from the first token of the first text."""
    groups = sequence_blocks(spans, causal=causal, window=window)
    return [
        Block(block.queries, (first + block.keys[0], first + block.keys[1]), block.mask)
        for group in groups
        for ((_, (first, _)),) in [group.keys]
        for block in group.blocks
    ]


@settings(max_examples=60, deadline=None)
@given(lengths_of_texts, st.booleans(), st.sampled_from([None, 1, 5, 70, 1000]))
def test_queries_see_what_the_rule_says(lengths: list[int], causal: bool, window: int | None) -> None:
    total = sum(lengths)
    visible = np.zeros((total, total), dtype=int)
    for block in blocks_of(spans_of(lengths), causal=causal, window=window):
        keys = block.keys
        sees = np.ones((block.queries[1] - block.queries[0], keys[1] - keys[0]), dtype=int)
        if block.mask is not None:
            sees[:, -block.mask.shape[1] :] = np.isfinite(block.mask.numpy())
        visible[slice(*block.queries), slice(*keys)] += sees

    text = np.repeat(np.arange(len(lengths)), lengths)
    behind = np.arange(total)[:, None] - np.arange(total)
    expected = text[:, None] == text
    expected &= (behind >= 0) | (not causal)
    expected &= abs(behind) < (total if window is None else window)
    assert np.array_equal(visible, expected.astype(int))


@pytest.mark.parametrize("window", [None, 16])
def test_blocks_stay_small(window: int | None) -> None:
    blocks = blocks_of(spans_of([3] * 50 + [1000]), causal=False, window=window)

    assert max(block.queries[1] - block.queries[0] for block in blocks) <= MAX_BLOCK_QUERIES
    assert all(block.queries[1] - block.queries[0] <= MAX_JOINED_KEYS for block in blocks[:2])
    assert window is None or max(block.keys[1] - block.keys[0] for block in blocks) <= MAX_BLOCK_QUERIES + 30


@pytest.mark.parametrize(("causal", "window"), [(True, None), (True, 500), (False, 500)])
def test_masks_of_a_long_text_take_no_memory_to_speak_of(causal: bool, window: int | None) -> None:
    blocks = blocks_of([(0, 20_000)], causal=causal, window=window)

    masks = {id(block.mask): block.mask.nbytes for block in blocks if block.mask is not None}
    assert sum(masks.values()) < 10 * 1024 * 1024


def test_a_text_that_sees_all_of_itself_needs_no_mask() -> None:
    (block,) = blocks_of([(0, 20)], causal=False, window=None)

    assert block.mask is None
