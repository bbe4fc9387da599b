"""Each kernel equals its plain twin under Triton's interpreter.

Not in bfloat16: the interpreter cuts what a GPU rounds.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from models.cuda.forest_attention import TILE_ROWS, ForestAttention
from models.cuda.kernels import DeviceTables, Kernels, PlainKernels
from models.devices import Staging
from models.interface import Ids
from models.layers.attention import PlainAttention
from models.layers.cpu_attention import KeysValues
from models.packing import pack
from tests.gpu_rehearsal.kernels.sources import interpreted_kernels

PLAIN, CPU, EPS = PlainKernels(), torch.device("cpu"), 1e-6
DTYPES = [torch.float16, torch.float32]
# Of numbers up to about 4: one rounding of the dtype at either end.
TOLERANCES = {torch.float16: 4e-3, torch.float32: 4e-6}


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernels]:
    with pytest.MonkeyPatch.context() as patch:
        yield interpreted_kernels(tmp_path_factory.mktemp("kernels"), patch)


def draw(*size: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(sum(size))).to(dtype)


def assert_equal(computed: Tensor, expected: Tensor) -> None:
    assert computed.dtype == expected.dtype
    assert computed.shape == expected.shape
    assert (computed.float() - expected.float()).abs().max() <= TOLERANCES[expected.dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [96, 1024, 2560])
def test_rms_norm(kernels: Kernels, width: int, dtype: torch.dtype) -> None:
    hidden, weight = draw(5, width, dtype=dtype), draw(width, dtype=dtype)

    assert_equal(kernels.rms_norm(hidden, weight, EPS, dtype), PLAIN.rms_norm(hidden, weight, EPS, dtype))


def test_the_last_norm_of_half_precision_is_computed_in_float32(kernels: Kernels) -> None:
    hidden, weight = draw(5, 96, dtype=torch.float16), draw(96, dtype=torch.float16)

    states = kernels.rms_norm(hidden, weight, EPS, torch.float32)

    assert_equal(states, PLAIN.rms_norm(hidden, weight, EPS, torch.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_embed(kernels: Kernels, dtype: torch.dtype) -> None:
    table, weight = draw(9, 160, dtype=dtype), draw(160, dtype=dtype)
    tokens = torch.tensor([8, 0, 3, 3])

    hidden, normed = kernels.embed(table, tokens, weight, EPS)

    assert torch.equal(hidden, table[tokens])
    assert_equal(normed, PLAIN.embed(table, tokens, weight, EPS)[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "groups", "width"), [(4, 2, 64), (16, 8, 128), (3, 3, 32)])
def test_rotate_heads(kernels: Kernels, heads: int, groups: int, width: int, dtype: torch.dtype) -> None:
    # More tokens than one program takes, and positions at which a frequency that is a little off shows.
    merged, weights = draw(19, (heads + 2 * groups) * width, dtype=dtype), draw(2, width, dtype=dtype)
    positions = torch.arange(19) * 1800
    angles = positions[:, None] / 1e6 ** (torch.arange(0, width, 2) / width)
    computed, expected = merged.clone(), merged.clone()

    for states, ours in ((computed, kernels), (expected, PLAIN)):
        rotated = states.view(19, -1, width)[:, :-groups]
        ours.rotate_heads(rotated, heads, (angles.cos(), angles.sin()), (weights[0], weights[1]), EPS)

    assert_equal(computed, expected)
    assert torch.equal(computed[:, -groups * width :], merged[:, -groups * width :])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("query_heads", "key_heads"), [(4, 0), (0, 2)])
def test_queries_and_keys_are_rotated_apart_in_the_last_layer(
    kernels: Kernels, query_heads: int, key_heads: int, dtype: torch.dtype
) -> None:
    heads, weights = draw(3, query_heads + key_heads, 64, dtype=dtype), draw(2, 64, dtype=dtype)
    angles = draw(3, 32, dtype=torch.float32)
    computed, expected = heads.clone(), heads.clone()

    for states, ours in ((computed, kernels), (expected, PLAIN)):
        ours.rotate_heads(states, query_heads, (angles.cos(), angles.sin()), (weights[0], weights[1]), EPS)

    assert_equal(computed, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [100, 3072])
def test_silu_mul(kernels: Kernels, width: int, dtype: torch.dtype) -> None:
    gate_up = draw(3, 2 * width, dtype=dtype)

    assert_equal(kernels.silu_mul(gate_up), PLAIN.silu_mul(gate_up))


def ids(*pieces: tuple[int, int]) -> Ids:
    """Pieces of a token and how often it stands there."""
    return np.repeat(*np.array(pieces, dtype=np.int32).T)


RANDOM = np.random.default_rng(3)
CACHED = [ids((7, 5)), ids((8, 70))]
FORESTS: dict[str, tuple[list[Ids], list[Ids]]] = {
    "one token": ([ids((1, 1))], []),
    "one text": ([ids((1, 33))], []),
    "texts of every kind of length": ([ids((n, n)) for n in (1, 2, 63, 64, 65, 300)], []),
    "many short texts": ([ids((n, 1 + n % 9)) for n in range(40)], []),
    "texts that begin alike, at several depths": (
        [RANDOM.integers(0, 3, RANDOM.integers(1, 40), dtype=np.int32) for _ in range(25)], []
    ),
    "one query with documents": ([ids((1, 90), (n, 20)) for n in range(2, 10)], []),
    "a text and its beginnings": ([ids((1, n)) for n in (1, 30, 100)], []),
    "cached prefixes": ([ids((7, 5), (n, 9)) for n in range(3)] + [ids((8, 70), (n, 3)) for n in range(9)], CACHED),
    "cached prefixes and texts without": ([ids((7, 5), (1, 9)), ids((2, 30)), ids((8, 70), (1, 40))], CACHED),
    "a cached prefix that no text continues": ([ids((1, 9))], CACHED),
}  # fmt: skip


def keys_values(tokens: int, groups: int, width: int, dtype: torch.dtype) -> KeysValues:
    """As the network has them: side by side in the rows of one matrix."""
    merged = draw(tokens, 2 * groups + 1, width, dtype=dtype)
    return merged[:, 1 : groups + 1], merged[:, groups + 1 :]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ends_alone", [False, True])
@pytest.mark.parametrize("forest", FORESTS)
def test_attention_over_a_forest(kernels: Kernels, forest: str, ends_alone: bool, dtype: torch.dtype) -> None:
    check_attention(kernels, *FORESTS[forest], heads=(4, 2, 32), ends_alone=ends_alone, dtype=dtype)


@pytest.mark.parametrize("ends_alone", [False, True])
@pytest.mark.parametrize("heads", [(4, 4, 16), (8, 1, 64), (16, 8, 128), (5, 1, 32), (6, 2, 16)])
def test_attention_of_any_heads(kernels: Kernels, heads: tuple[int, int, int], ends_alone: bool) -> None:
    texts = [ids((7, 5), (1, 40)), *(ids((1, n)) for n in (1, 7, 90))]

    check_attention(kernels, texts, CACHED, heads=heads, ends_alone=ends_alone, dtype=torch.float16)


def check_attention(
    kernels: Kernels,
    texts: list[Ids],
    cached: list[Ids],
    *,
    heads: tuple[int, int, int],
    ends_alone: bool,
    dtype: torch.dtype,
) -> None:
    """Compare the kernel, and the twin that goes by the tables, with PlainAttention, which goes by the layout."""
    count, groups, width = heads
    packed = pack(texts, cached)
    layout = packed.layout.at(packed.ends) if ends_alone else packed.layout
    query = draw(len(packed.tokens), count + groups, width, dtype=dtype)[:, :count]
    query = query[torch.from_numpy(packed.ends)] if ends_alone else query
    sources = [keys_values(len(tokens), groups, width, dtype) for tokens in (packed.tokens, *cached)]
    expected = PlainAttention(layout)(query.float(), [(key.float(), value.float()) for key, value in sources])

    for ours in (kernels, PLAIN):
        prefixes = [[source] for source in sources[1:]]
        attention = ForestAttention(layout, Staging(CPU), ours, group=count // groups, cached=prefixes)
        assert_equal(attention(query, sources), expected.to(dtype))


def test_a_query_that_nothing_is_known_of_gets_zeros(kernels: Kernels) -> None:
    """So tiles can fill a grid of fixed size."""
    tile_queries = TILE_ROWS // 2
    empty = torch.tensor([[0, 0, 0, 0]] * 2, dtype=torch.int32), torch.zeros(1, 5, dtype=torch.int32)
    own = torch.tensor([[0, -1]] * (tile_queries + 3), dtype=torch.int32)
    query = draw(len(own), 4, 32, dtype=torch.float16)
    source = keys_values(5, 2, 32, torch.float16)

    attended = kernels.attend(query, [source], DeviceTables(tile_queries, *empty, own, None))

    assert not attended.any()
