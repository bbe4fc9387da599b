"""Attention over a forest on CUDA: varlen_attn equals PlainAttention, whose memory stays small."""

import numpy as np
import pytest
import torch

from models.devices import Staging
from models.interface import Ids
from models.layers.attention import PlainAttention, prepare
from models.layers.cpu_attention import KeysValues
from models.layers.efficient_attention import efficient
from models.layers.sequence_attention import Rule, SequenceLayout
from models.layers.varlen_attention import Attend, VarlenAttention, nesting
from models.packing import AttentionLayout, PrefixForest, pack

WIDTH = 64


def device() -> torch.device:
    return torch.device("cuda")


def varlen_attention(
    layout: AttentionLayout, query: torch.Tensor, sources: list[KeysValues], attend: Attend | None = None
) -> torch.Tensor:
    staging = Staging(device())
    attention = VarlenAttention(layout, staging, attend)
    staging.send()
    return attention(query, sources)


def forest(seed: int, cached: list[Ids] | None = None) -> PrefixForest:
    random = np.random.default_rng(seed)
    return pack([random.integers(0, 3, random.integers(1, 40), dtype=np.int32) for _ in range(60)], cached or [])


def tensors(
    tokens: int, heads: int, groups: int, cached: list[Ids], width: int = WIDTH
) -> tuple[torch.Tensor, list[KeysValues]]:
    random = torch.Generator("cuda").manual_seed(0)

    def draw(count: int, heads: int) -> torch.Tensor:
        return torch.randn(count, heads, width, generator=random, device="cuda", dtype=torch.bfloat16)

    return draw(tokens, heads), [(draw(n, groups), draw(n, groups)) for n in (tokens, *(len(ids) for ids in cached))]


@pytest.mark.usefixtures("varlen")
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (8, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_varlen_attention_equals_plain_attention(heads: tuple[int, int], seed: int, width: int) -> None:
    cached = [np.array([0, 1], dtype=np.int32), np.array([2], dtype=np.int32)]
    packed = forest(seed, cached)
    query, sources = tensors(len(packed.tokens), *heads, cached, width)

    fast = varlen_attention(packed.layout, query, sources)

    wide = [(key.float(), value.float()) for key, value in sources]
    plain = PlainAttention(packed.layout)(query.float(), wide)
    assert (fast.float() - plain).abs().max() < 0.03


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (8, 1)])
@pytest.mark.parametrize("seed", range(2))
def test_the_memory_efficient_kernel_equals_plain_attention(heads: tuple[int, int], seed: int) -> None:
    cached = [np.array([0, 1], dtype=np.int32), np.array([2], dtype=np.int32)]
    packed = forest(seed, cached)
    query, sources = tensors(len(packed.tokens), *heads, cached)
    query, wide = query.float(), [(key.float(), value.float()) for key, value in sources]
    ends = torch.from_numpy(packed.ends).cuda()

    fast = varlen_attention(packed.layout, query, wide, efficient)
    of_ends = varlen_attention(packed.layout.at(packed.ends), query[ends], wide, efficient)

    plain = PlainAttention(packed.layout)(query, wide)
    assert (fast - plain).abs().max() < 1e-4
    assert (of_ends - plain[ends]).abs().max() < 1e-4


@pytest.mark.parametrize("rule", [Rule(causal=True), Rule(causal=True, window=7), Rule(causal=False)], ids=str)
def test_sequences_in_float32_run_in_one_call(rule: Rule) -> None:
    lengths = (40, 1, 67)
    random = torch.Generator("cuda").manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, sum(lengths), WIDTH, generator=random, device="cuda") for heads in (4, 2, 2)
    )
    layout = SequenceLayout(lengths, device())

    together = layout.in_one_call(query, key, value, rule)

    assert (together - layout.one_by_one(query, key, value, rule)).abs().max() < 1e-4


# Where each span has one query, flash attention computes grouped heads as queries of one head.
@pytest.mark.usefixtures("varlen")
@pytest.mark.parametrize("heads", [(4, 2), (8, 1), (16, 8)])
def test_branches_of_single_queries_equal_plain_attention(heads: tuple[int, int]) -> None:
    packed = pack([np.array([*[start] * start, end], dtype=np.int32) for start in (3, 40, 300) for end in (1, 2)])
    query, sources = tensors(len(packed.tokens), *heads, [])

    fast = varlen_attention(packed.layout, query, sources)

    wide = [(key.float(), value.float()) for key, value in sources]
    plain = PlainAttention(packed.layout)(query.float(), wide)
    assert [branch.queries[1] - branch.queries[0] for branch in nesting(packed.layout.branches)[0]] == [1, 1, 1]
    assert (fast.float() - plain).abs().max() < 0.03


@pytest.mark.usefixtures("varlen")
@pytest.mark.parametrize("seed", range(4))
def test_varlen_attention_of_the_ends_alone_equals_plain_attention(seed: int) -> None:
    packed = forest(seed)
    query, sources = tensors(len(packed.tokens), 8, 2, [])
    ends = torch.from_numpy(packed.ends).cuda()

    fast = varlen_attention(packed.layout.at(packed.ends), query[ends], sources)

    wide = [(key.float(), value.float()) for key, value in sources]
    plain = PlainAttention(packed.layout)(query.float(), wide)[ends]
    assert (fast.float() - plain).abs().max() < 0.03


@pytest.mark.usefixtures("varlen")
def test_bfloat16_takes_varlen_and_float32_the_memory_efficient_kernel() -> None:
    layout = forest(0).layout

    assert isinstance(prepare(layout, Staging(device()), torch.bfloat16, WIDTH), VarlenAttention)
    for dtype, width in ((torch.float32, WIDTH), (torch.bfloat16, 20), (torch.bfloat16, 264)):
        attention = prepare(layout, Staging(device()), dtype, width)
        assert isinstance(attention, VarlenAttention)
        assert attention._attend is efficient


def test_attention_in_float32_holds_no_score_for_every_head_and_pair() -> None:
    tokens, heads = 4096, 8
    layout = pack([np.arange(tokens, dtype=np.int32)]).layout
    query, sources = tensors(tokens, heads, 2, [])
    wide = [(key.float(), value.float()) for key, value in sources]
    query = query.float()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()

    varlen_attention(layout, query, wide, efficient)

    assert torch.cuda.max_memory_allocated() - before < heads * tokens * tokens * 4 / 2
