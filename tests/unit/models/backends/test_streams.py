"""A batch in parts that run side by side: every item once, the same rows, and no part on more cores than its share."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import Item, LoadOptions, OutOfMemory, Readout, load_backend, load_preprocessor
from models.backends import streams
from models.backends.packed import PackedBackend
from models.backends.streams import MICRO_BATCH_TOKENS, MOST_UNEVEN, Division, Streams, divide, streams_for
from models.interface import Ids
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.one_at_a_time import Matrix, cosines

VECTOR, SCORE = Readout("vector"), Readout("score")
CPU = torch.device("cpu")


@given(st.lists(st.integers(0, 600), max_size=60), st.integers(2, 16))
def test_a_division_has_every_item_once_and_is_even(tokens: list[int], cores: int) -> None:
    division = divide(tokens, cores)

    if division is None:
        return
    assert sorted(number for part in division.micro_batches for number in part) == list(range(len(tokens)))
    assert 2 <= division.streams <= cores
    assert all(part == list(range(part[0], part[-1] + 1)) for part in division.micro_batches)
    assert all(tokens[part[0]] or part[0] == 0 for part in division.micro_batches)
    sizes = [sum(tokens[number] for number in part) for part in division.micro_batches]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) <= MOST_UNEVEN * sum(tokens) / division.streams


@pytest.mark.parametrize(
    ("tokens", "cores", "streams", "parts"),
    [
        ([64] * 16, 2, 2, 4),
        ([64] * 16, 16, 4, 4),
        ([64] * 64, 4, 4, 8),
        ([512, 512], 2, 2, 2),
        ([1024], 2, None, None),
        ([700, 300], 2, None, None),
        ([MICRO_BATCH_TOKENS - 1, MICRO_BATCH_TOKENS], 2, None, None),
        ([], 2, None, None),
    ],
)
def test_a_batch_is_divided_where_that_is_even(
    tokens: list[int], cores: int, streams: int | None, parts: int | None
) -> None:
    division = divide(tokens, cores)

    assert (division and division.streams, division and len(division.micro_batches)) == (streams, parts)


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(streams, "LEAST_WIDTH", 1)
    yield
    torch.set_num_threads(before)


def test_parts_share_the_cores_and_leave_the_caller_its_own() -> None:
    seen = []

    results = Streams(4).map(lambda number: seen.append(torch.get_num_threads()) or number, Division([[0]] * 5, 2))

    assert results == [0, 1, 2, 3, 4]
    assert seen == [2] * 5
    assert torch.get_num_threads() == 4


def test_parts_run_side_by_side() -> None:
    meeting = threading.Barrier(2)

    assert Streams(2).map(lambda number: meeting.wait(timeout=30) * 0 + number, Division([[0], [1]], 2)) == [0, 1]


def test_the_error_of_a_part_is_raised_when_all_have_ended() -> None:
    ended = []

    def run(number: int) -> None:
        if number == 0:
            raise OutOfMemory("part 0")
        ended.append(number)

    with pytest.raises(OutOfMemory, match="part 0"):
        Streams(2).map(run, Division([[0], [1], [2]], 2))
    assert ended == [1, 2]


@pytest.mark.usefixtures("two_cores")
def test_streams_are_for_wide_networks_on_several_cores_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LEAST_WIDTH", 512)

    assert streams_for(CPU, 512) is not None
    assert streams_for(CPU, 511) is None
    assert streams_for(torch.device("cuda"), 512) is None
    torch.set_num_threads(1)
    assert streams_for(CPU, 512) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("checkpoint"), "reranker", dtype=torch.bfloat16)


def backend(folder: Path, dtype: str) -> PackedBackend:
    loaded = load_backend(folder, load_preprocessor(folder).info, LoadOptions(dtype=dtype))
    assert isinstance(loaded, PackedBackend)
    return loaded


def rows(backend: PackedBackend, batches: list[list[Ids]], readout: Readout) -> Matrix:
    *before, last = batches
    found = [
        row for batch in before for row in backend.launch([Item(i, readout) for i in batch], keep_prefix=True).rows()
    ]
    return np.stack(found + backend.launch([Item(ids, readout) for ids in last]).rows())


@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.999999), ("bfloat16", 0.9999)])
def test_a_divided_batch_has_the_rows_of_an_undivided_one(
    folder: Path, dtype: str, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    head = random.integers(0, 286, 90, dtype=np.int32)
    shared = [np.concatenate([head, random.integers(0, 286, n, dtype=np.int32)]) for n in (60, 100, 250, 250, 250)]
    texts = [random.integers(0, 286, n, dtype=np.int32) for n in (250, 250, 90, 160, 1, 250)]
    divided = backend(folder, dtype)
    divided_into = []
    run_parts = Streams.map

    def noted(self: Streams, run: Callable[[int], Any], division: Division) -> list[Any]:
        divided_into.append(len(division.micro_batches))
        return run_parts(self, run, division)

    monkeypatch.setattr(Streams, "map", noted)
    ours = {readout: rows(divided, [[*texts, texts[-1]], shared, shared], readout) for readout in (VECTOR, SCORE)}
    # Behind a prefix that is not cached yet, parts would repeat too much.
    assert divided_into == [4, 4] * 2

    monkeypatch.setattr(streams, "LEAST_WIDTH", 1 << 20)
    whole = backend(folder, dtype)

    for readout, found in ours.items():
        expected = rows(whole, [[*texts, texts[-1]], shared, shared], readout)
        if readout is VECTOR:
            assert cosines(found, expected).min() >= least
        else:
            np.testing.assert_allclose(found, expected, atol=1e-4 if dtype == "float32" else 0.1)
