"""Attention by tables equals PlainAttention: here with the plain kernels, with Triton's in tests/gpu_rehearsal."""

import numpy as np
import pytest
import torch

from models.cuda.forest_attention import ForestAttention, tile_queries_for
from models.cuda.kernels import PlainKernels
from models.devices import Staging
from models.interface import Ids
from models.layers.attention import PlainAttention
from models.layers.cpu_attention import KeysValues
from models.packing import pack

HEADS, GROUPS, WIDTH = 4, 2, 16
CACHED = [np.array([0, 1], dtype=np.int32), np.array([2], dtype=np.int32)]


def keys_values(tokens: int, seed: int) -> KeysValues:
    key, value = torch.randn(2, tokens, GROUPS, WIDTH, generator=torch.Generator().manual_seed(seed))
    return key, value


@pytest.mark.parametrize("cached", [[], CACHED], ids=["no cached prefix", "cached prefixes"])
def test_each_layer_attends_to_its_own_cached_keys(cached: list[Ids]) -> None:
    random = np.random.default_rng(0)
    forest = pack([random.integers(0, 3, random.integers(1, 40), dtype=np.int32) for _ in range(30)], cached)
    prefixes = [[keys_values(len(ids), 10 * number + layer) for layer in range(2)] for number, ids in enumerate(cached)]
    query = torch.randn(len(forest.tokens), HEADS, WIDTH, generator=torch.Generator().manual_seed(1))
    own = keys_values(len(forest.tokens), 99)

    attention = ForestAttention(
        forest.layout, Staging(torch.device("cpu")), PlainKernels(), group=HEADS // GROUPS, cached=prefixes
    )

    for layer in range(2):
        sources = [own, *(prefix[layer] for prefix in prefixes)]
        expected = PlainAttention(forest.layout)(query, sources)
        torch.testing.assert_close(attention(query, sources), expected, atol=1e-5, rtol=0)


def test_a_tile_is_filled_by_the_heads_that_share_keys() -> None:
    forest = pack([np.arange(5, dtype=np.int32)])

    assert [tile_queries_for(forest.layout, group) for group in (1, 2, 5, 200)] == [128, 64, 25, 1]
    assert tile_queries_for(forest.layout.at(forest.ends), 2) == 1
