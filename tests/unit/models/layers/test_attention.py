"""The fast implementations of attention equal PlainAttention, which equals softmax written out."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.devices import Staging
from models.layers import attention
from models.layers import varlen_attention as varlen
from models.layers.attention import PlainAttention, prepare, sharing_costs
from models.layers.cpu_attention import (
    FULL_BLOCK_KEYS,
    MAX_BLOCK_QUERIES,
    BlockAttention,
    BlockGroup,
    KeysValues,
    forest_blocks,
)
from models.packing import AttentionLayout, pack
from tests.support.networks.attention_masks import seen

WIDTH = 16
items_of_three = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=20)
few = settings(max_examples=40, deadline=None)


def layout_of(lists: Sequence[Sequence[int]], cached: Sequence[Sequence[int]] = ()) -> tuple[AttentionLayout, int]:
    items, prefixes = ([np.array(values, dtype=np.int32) for values in token_lists] for token_lists in (lists, cached))
    forest = pack(items, prefixes)
    return forest.layout, len(forest.tokens)


def tensors(tokens: int, heads: int, groups: int, cached: Sequence[int] = ()) -> tuple[Tensor, list[KeysValues]]:
    random = torch.Generator().manual_seed(tokens)
    query = torch.randn(tokens, heads, WIDTH, generator=random)
    lengths = [tokens, *cached]
    sources = [
        (torch.randn(n, groups, WIDTH, generator=random), torch.randn(n, groups, WIDTH, generator=random))
        for n in lengths
    ]
    return query, sources


def rows_of(group: BlockGroup) -> list[list[tuple[int, int]]]:
    """(source, key) of every key that each query of a group's blocks sees."""
    all_keys = [(source, key) for source, span in group.keys for key in range(*span)]
    rows = []
    for block in group.blocks:
        keys = all_keys[slice(*block.keys)]
        hidden = torch.zeros(block.queries[1] - block.queries[0], len(keys), dtype=torch.bool)
        if block.mask is not None:
            hidden[:, len(keys) - block.mask.shape[1] :] = block.mask.isinf()
        rows += [sorted(key for key, out in zip(keys, row, strict=True) if not out) for row in hidden.tolist()]
    return rows


def written_out(query: Tensor, sources: list[KeysValues], layout: AttentionLayout) -> Tensor:
    """Softmax over the keys that each query sees, one query at a time."""
    rows = []
    for number, row in enumerate(query):
        at = seen(layout, number)
        key, value = (torch.stack([sources[s][which][k] for s, k in at]) for which in (0, 1))
        repeat = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
        weights = torch.einsum("nd,knd->nk", row, key).mul(WIDTH**-0.5).softmax(-1)
        rows.append(torch.einsum("nk,knd->nd", weights, value))
    return torch.stack(rows)


@few
@given(items_of_three, st.sampled_from([(4, 4), (4, 2), (8, 1)]))
def test_plain_attention_is_softmax_over_the_path(lists: list[list[int]], heads: tuple[int, int]) -> None:
    layout, tokens = layout_of(lists)
    query, sources = tensors(tokens, *heads)

    torch.testing.assert_close(PlainAttention(layout)(query, sources), written_out(query, sources, layout))


@few
@given(items_of_three, st.sampled_from([(4, 4), (4, 2), (8, 1)]))
def test_attention_in_blocks_equals_plain_attention(lists: list[list[int]], heads: tuple[int, int]) -> None:
    layout, tokens = layout_of(lists)
    query, sources = tensors(tokens, *heads)

    states = BlockAttention(layout)(query, sources)

    torch.testing.assert_close(states, PlainAttention(layout)(query, sources), rtol=1e-5, atol=1e-5)


@few
@given(items_of_three)
def test_kept_keys_are_seen_as_if_they_were_in_the_batch(lists: list[list[int]]) -> None:
    cached = [[0, 1], [2]]
    layout, tokens = layout_of(lists, cached)
    query, sources = tensors(tokens, 4, 2, [2, 1])

    states = BlockAttention(layout)(query, sources)

    torch.testing.assert_close(states, written_out(query, sources, layout), rtol=1e-5, atol=1e-5)


def test_a_path_longer_than_one_stretch_of_queries() -> None:
    start = list(range(100))
    layout, tokens = layout_of([start + [200 + n] * 150 for n in range(5)])
    query, sources = tensors(tokens, 4, 2)

    states = BlockAttention(layout)(query, sources)

    torch.testing.assert_close(states, PlainAttention(layout)(query, sources), rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_near_to_float32_behind_a_shared_prefix() -> None:
    layout, tokens = layout_of([[*range(64), 100 + n, 5, 6, 7] for n in range(8)])
    query, sources = tensors(tokens, 4, 2)
    half = [(key.bfloat16(), value.bfloat16()) for key, value in sources]

    states = BlockAttention(layout)(query.bfloat16(), half)

    assert (states.float() - written_out(query, sources, layout)).abs().max() < 0.02


@few
@given(st.lists(st.integers(1, 150), min_size=1, max_size=12), st.integers(0, 80))
def test_each_query_is_in_one_block_and_sees_its_own_path(lengths: list[int], shared: int) -> None:
    layout, tokens = layout_of(
        [[*range(shared), *range(200 + 200 * n, 200 + 200 * n + m)] for n, m in enumerate(lengths)]
    )

    assert [row for group in forest_blocks(layout) for row in rows_of(group)] == [
        sorted(seen(layout, number)) for number in range(tokens)
    ]


def test_short_texts_in_a_row_share_a_block_and_long_runs_are_cut() -> None:
    layout, _ = layout_of([[0] * 20, [1] * 20, [2] * 20, [3] * 20, [4] * 300])

    spans = [block.queries for group in forest_blocks(layout) for block in group.blocks]

    assert spans == [(0, 60), (60, 80), (80, 208), (208, 336), (336, 380)]


def test_far_into_a_long_text_blocks_have_fewer_queries() -> None:
    groups = list(forest_blocks(layout_of([[1] * 40_000])[0]))

    last = groups[-1].blocks[-1]
    assert (last.queries[1] - last.queries[0]) * last.keys[1] <= MAX_BLOCK_QUERIES * FULL_BLOCK_KEYS
    assert last.queries[1] == last.keys[1] == 40_000


def test_a_processor_attends_in_blocks() -> None:
    assert isinstance(prepare(layout_of([[1]])[0], Staging(torch.device("cpu")), torch.float32, 64), BlockAttention)


def test_a_device_without_kernels_of_torch_attends_in_the_plain_way() -> None:
    assert isinstance(prepare(layout_of([[1]])[0], Staging(torch.device("meta")), torch.bfloat16, 64), PlainAttention)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (8, 1)])
def test_keys_that_are_repeated_equal_grouped_ones(heads: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    layout, tokens = layout_of([[1, 2, 3], [1, 2, 4, 5], [6]])
    query, sources = tensors(tokens, *heads)
    monkeypatch.setattr(attention, "_supports_grouped_heads", lambda *_: False)

    torch.testing.assert_close(PlainAttention(layout)(query, sources), written_out(query, sources, layout))


@pytest.mark.usefixtures("varlen_on_cpu")
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (8, 1)])
@pytest.mark.parametrize("seed", range(6))
def test_the_calls_for_cuda_equal_plain_attention(heads: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    lists = [random.integers(0, 3, random.integers(1, 12)).tolist() for _ in range(20)]
    layout, tokens = layout_of(lists, [[0, 1], [2]])
    query, sources = tensors(tokens, *heads, [2, 1])

    packed = varlen.VarlenAttention(layout, Staging(torch.device("cpu")))(query, sources)

    torch.testing.assert_close(packed, PlainAttention(layout)(query, sources), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("varlen_on_cpu")
def test_the_calls_for_cuda_equal_plain_attention_for_the_ends_alone() -> None:
    random = np.random.default_rng(0)
    forest = pack([random.integers(0, 3, random.integers(1, 12)).astype(np.int32) for _ in range(20)])
    trimmed = forest.layout.at(forest.ends)
    query, sources = tensors(len(forest.tokens), 4, 2)
    end_queries = query[torch.from_numpy(forest.ends)]

    packed = varlen.VarlenAttention(trimmed, Staging(torch.device("cpu")))(end_queries, sources)

    everything = PlainAttention(forest.layout)(query, sources)[torch.from_numpy(forest.ends)]
    torch.testing.assert_close(packed, everything, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("varlen_on_cpu")
@pytest.mark.parametrize("heads", [(4, 2), (8, 1)])
def test_the_calls_for_cuda_of_single_queries_equal_plain_attention(heads: tuple[int, int]) -> None:
    layout, tokens = layout_of([[start, start, end] for start in (3, 4, 5) for end in (1, 2)])
    query, sources = tensors(tokens, *heads)

    packed = varlen.VarlenAttention(layout, Staging(torch.device("cpu")))(query, sources)

    assert [branch.queries[1] - branch.queries[0] for branch in layout.branches] == [1, 1, 1]
    torch.testing.assert_close(packed, PlainAttention(layout)(query, sources), rtol=1e-5, atol=1e-5)


@given(items_of_three)
def test_branches_of_one_depth_do_not_overlap(lists: list[list[int]]) -> None:
    layout, _ = layout_of(lists)

    levels = varlen.nesting(layout.branches)

    assert sum(len(level) for level in levels) == len(layout.branches)
    assert all(a.queries[1] <= b.queries[0] for level in levels for a, b in pairwise(level))


def test_fused_layers_pay_for_branches_by_query_and_for_no_level() -> None:
    sizes = {"parameters": 440_401_920, "layers": 28, "hidden_size": 1024, "head_numbers": 16 * 128}

    costs = sharing_costs(torch.device("cuda"), fused=True, **sizes)

    # A prefix of 90 tokens pays for 100 documents of 128 tokens each.
    assert 0 < costs.per_query < 90 / 128
    assert costs.per_level == 0
    assert sharing_costs(torch.device("cuda"), **sizes).per_level > 0
