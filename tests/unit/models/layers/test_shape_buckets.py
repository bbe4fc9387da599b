"""A random mix of lengths leads to few shapes of oneDNN's products, and padding changes no row."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.layers.cpu_attention import BlockAttention, sequence_blocks
from models.layers.onednn import PrepackedLinear, prepacking_works
from models.layers.shape_buckets import LARGE_MATRIX, padded_block, padded_tokens
from models.packing import pack

Shape = tuple[str, tuple[int, ...], tuple[int, ...]]
PRODUCTS = {"aten.bmm.out": (0, 1), "aten.baddbmm_.default": (1, 2), "mkldnn._linear_pointwise.default": (0, 1)}
needs_onednn = pytest.mark.skipif(not prepacking_works(torch.float32), reason="this torch has no oneDNN")


class ProductShapes(TorchDispatchMode):
    """The shapes of the products that are written to padded buffers or use prepacked weights."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[Shape] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if factors := PRODUCTS.get(str(func)):
            a, b = (args[place] for place in factors)
            self.shapes.add((str(func), tuple(a.shape), tuple(b.shape)))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("elements", "sizes"), [(1, 16), (LARGE_MATRIX, 80)])
def test_few_numbers_of_tokens_are_multiplied(elements: int, sizes: int) -> None:
    padded = [padded_tokens(count, elements) for count in range(1, 1025)]

    assert len(set(padded)) == sizes
    assert all(count <= size < 1.5 * count + 4 for count, size in enumerate(padded, 1))


def test_large_matrices_are_padded_by_little() -> None:
    padding = [padded_tokens(count, LARGE_MATRIX) / count - 1 for count in range(65, 1025)]

    assert max(padding) < 0.063
    assert np.mean(padding) < 0.025


def test_few_sizes_of_blocks_occur_up_to_long_texts() -> None:
    blocks = {(queries, keys): padded_block(queries, keys) for queries in range(1, 129) for keys in range(1, 513)}
    long_texts = {padded_block(128, keys)[1] for keys in range(128, 32_769)}

    assert len(set(blocks.values())) < 120
    assert len(long_texts) < 60
    assert all(queries <= padded[0] and keys <= padded[1] for (queries, keys), padded in blocks.items())


@pytest.mark.parametrize("length", range(16, 65))
def test_a_block_of_a_short_text_is_padded_by_little(length: int) -> None:
    queries, keys = padded_block(length, length)

    assert queries * keys <= 2.7 * length * length


@needs_onednn
def test_a_random_mix_of_lengths_leads_to_few_shapes() -> None:
    random = np.random.default_rng(0)
    linear = PrepackedLinear(torch.ones(8, 8))
    with ProductShapes() as products:
        for _ in range(60):
            lengths = np.clip(random.lognormal(3.5, 1.0, random.choice([1, 20])), 1, 700).astype(int)
            forest = pack([random.integers(0, 1 << 30, n).astype(np.int32) for n in lengths])
            query = torch.ones(len(forest.tokens), 2, 8)
            BlockAttention(forest.layout)(query, [(query, query)])
            linear(query[:, 0])

    assert 10 < len(products.shapes) < 70


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [100, 140, 600])
def test_values_after_the_last_key_do_not_change_a_row(length: int, dtype: torch.dtype) -> None:
    layout = pack([np.arange(length, dtype=np.int32)]).layout
    random = torch.Generator().manual_seed(length)
    query, key, value = (torch.randn(length + 50, 2, 16, generator=random).to(dtype) for _ in range(3))
    attention = BlockAttention(layout)
    expected = attention(query[:length], [(key[:length], value[:length])])

    query[length:], key[length:], value[length:] = torch.nan, torch.nan, torch.nan
    states = attention(query, [(key, value)])

    assert torch.equal(states[:length], expected)
    assert not states[length:].any()


@needs_onednn
@pytest.mark.parametrize("count", [1, 3, 5, 17, 300])
def test_rows_of_a_padded_product_are_those_of_the_plain_one(count: int) -> None:
    hidden, weight = torch.randn(2, count, 64), torch.randn(96, 64)

    product = PrepackedLinear(weight)(hidden)

    torch.testing.assert_close(product, hidden @ weight.T, rtol=1e-5, atol=1e-4)


def test_blocks_of_both_ways_read_no_key_of_the_next_text() -> None:
    groups = list(sequence_blocks([(0, 130), (130, 400)], causal=False, window=None))

    assert [group.keys for group in groups] == [((0, (0, 130)),), ((0, (130, 400)),)]
