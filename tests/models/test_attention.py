"""attention: the fast ways equal the plain one, and the plain one equals softmax written out."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models import cpu_attention, varlen
from models.attention import PlainAttention, prepare
from models.cpu_attention import KeysValues, MergedAttention
from models.forest import Layout
from models.packing import pack
from tests.models.layouts import seen

WIDTH = 16
items_of_three = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=20)
few = settings(max_examples=40, deadline=None)


def layout_of(lists: Sequence[Sequence[int]], kept: Sequence[Sequence[int]] = ()) -> tuple[Layout, int]:
    items, prefixes = ([np.array(values, dtype=np.int32) for values in each] for each in (lists, kept))
    forest = pack(items, prefixes)
    return forest.layout, len(forest.tokens)


def tensors(tokens: int, heads: int, groups: int, kept: Sequence[int] = ()) -> tuple[Tensor, list[KeysValues]]:
    random = torch.Generator().manual_seed(tokens)
    query = torch.randn(tokens, heads, WIDTH, generator=random)
    lengths = [tokens, *kept]
    sources = [
        (torch.randn(n, groups, WIDTH, generator=random), torch.randn(n, groups, WIDTH, generator=random))
        for n in lengths
    ]
    return query, sources


def written_out(query: Tensor, sources: list[KeysValues], layout: Layout) -> Tensor:
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
def test_merged_attention_equals_plain_attention(lists: list[list[int]], heads: tuple[int, int]) -> None:
    layout, tokens = layout_of(lists)
    query, sources = tensors(tokens, *heads)

    merged = MergedAttention(layout)(query, sources)

    torch.testing.assert_close(merged, PlainAttention(layout)(query, sources), rtol=1e-5, atol=1e-5)


@few
@given(items_of_three)
def test_kept_keys_are_seen_as_if_they_were_in_the_batch(lists: list[list[int]]) -> None:
    kept = [[0, 1], [2]]
    layout, tokens = layout_of(lists, kept)
    query, sources = tensors(tokens, 4, 2, [2, 1])

    merged = MergedAttention(layout)(query, sources)

    torch.testing.assert_close(merged, written_out(query, sources, layout), rtol=1e-5, atol=1e-5)


def test_a_path_longer_than_one_stretch_of_queries() -> None:
    start = list(range(100))
    layout, tokens = layout_of([start + [200 + n] * 150 for n in range(5)])
    query, sources = tensors(tokens, 4, 2)

    merged = MergedAttention(layout)(query, sources)

    torch.testing.assert_close(merged, PlainAttention(layout)(query, sources), rtol=1e-5, atol=1e-5)


def test_bfloat16_stays_near_to_float32_behind_a_shared_prefix() -> None:
    layout, tokens = layout_of([[*range(64), 100 + n, 5, 6, 7] for n in range(8)])
    query, sources = tensors(tokens, 4, 2)
    half = [(key.bfloat16(), value.bfloat16()) for key, value in sources]

    merged = MergedAttention(layout)(query.bfloat16(), half)

    assert (merged.float() - written_out(query, sources, layout)).abs().max() < 0.02


def test_a_kernel_without_grouped_heads_gets_repeated_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    layout, tokens = layout_of([[*range(30), 100 + n] for n in range(5)])
    query, sources = tensors(tokens, 8, 2)
    monkeypatch.setattr(cpu_attention, "takes_grouped_heads", lambda: False)

    merged = MergedAttention(layout)(query, sources)

    torch.testing.assert_close(merged, PlainAttention(layout)(query, sources), rtol=1e-5, atol=1e-5)


def test_a_kernel_that_reads_past_the_keys_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> KeysValues:
        # Head n of the keys' memory, whether it is theirs or not.
        key, value = (each.as_strided(query.shape, each.stride()) for each in (key, value))
        return kernel(query, key, value, causal=causal)

    kernel = cpu_attention._kernel
    monkeypatch.setattr(cpu_attention, "_kernel", older)

    assert not cpu_attention.takes_grouped_heads.__wrapped__()


def test_a_processor_merges() -> None:
    assert isinstance(prepare(layout_of([[1]])[0], torch.device("cpu"), torch.float32), MergedAttention)


def flash_varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_starts: Tensor,
    key_starts: Tensor,
    max_queries: int,
    max_keys: int,
    *,
    return_aux: object,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:
    """What torch 2.12's varlen_attn does on CUDA, written out: bottom right, log-sum-exp as (heads, queries)."""
    assert enable_gqa == (query.shape[1] != key.shape[1])
    assert max_queries == int(query_starts.diff().max())
    assert max_keys == int(key_starts.diff().max())
    assert (int(query_starts[-1]), int(key_starts[-1])) == (len(query), len(key))
    repeat = query.shape[1] // key.shape[1]
    out, sums = torch.empty_like(query), torch.empty(query.shape[1], len(query))
    for a, b, c, d in zip(query_starts[:-1], query_starts[1:], key_starts[:-1], key_starts[1:], strict=True):
        k, v = (each[c:d].repeat_interleave(repeat, 1) for each in (key, value))
        logits = torch.einsum("qnd,knd->nqk", query[a:b], k) * WIDTH**-0.5
        if window_size == (-1, 0):
            hidden = ~torch.ones(b - a, d - c, dtype=torch.bool).tril(int(d - c) - int(b - a))
            logits = logits.masked_fill(hidden, -torch.inf)
        out[a:b] = torch.einsum("nqk,knd->qnd", logits.softmax(-1), v)
        sums[:, a:b] = logits.logsumexp(-1)
    return out, sums


@pytest.fixture
def varlen_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", flash_varlen)
    varlen._parameters.cache_clear()


@pytest.mark.usefixtures("varlen_on_cpu")
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (8, 1)])
@pytest.mark.parametrize("seed", range(6))
def test_the_calls_for_cuda_equal_plain_attention(heads: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    lists = [random.integers(0, 3, random.integers(1, 12)).tolist() for _ in range(20)]
    layout, tokens = layout_of(lists, [[0, 1], [2]])
    query, sources = tensors(tokens, *heads, [2, 1])

    packed = varlen.VarlenAttention(layout, torch.device("cpu"))(query, sources)

    torch.testing.assert_close(packed, PlainAttention(layout)(query, sources), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("varlen_on_cpu")
def test_the_calls_for_cuda_equal_plain_attention_for_the_ends_alone() -> None:
    random = np.random.default_rng(0)
    forest = pack([random.integers(0, 3, random.integers(1, 12)).astype(np.int32) for _ in range(20)])
    trimmed = forest.layout.at(forest.ends)
    query, sources = tensors(len(forest.tokens), 4, 2)
    asked = query[torch.from_numpy(forest.ends)]

    packed = varlen.VarlenAttention(trimmed, torch.device("cpu"))(asked, sources)

    everything = PlainAttention(forest.layout)(query, sources)[torch.from_numpy(forest.ends)]
    torch.testing.assert_close(packed, everything, rtol=1e-5, atol=1e-5)


@given(items_of_three)
def test_branches_of_one_depth_do_not_overlap(lists: list[list[int]]) -> None:
    layout, _ = layout_of(lists)

    levels = varlen.nesting(layout.branches)

    assert sum(len(level) for level in levels) == len(layout.branches)
    assert all(a.queries[1] <= b.queries[0] for level in levels for a, b in pairwise(level))
