"""A text in parts gives the row that it gives as a whole: to the last bit where one token is read."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from models import Item, LoadOptions, NonFinite, Readout, Row, SplitPass, load_preprocessor
from models.backends.packed import PackedBackend, load
from models.checkpoint.folder import Checkpoint
from models.interface import Dtype, Ids, Pooling
from tests.support.checkpoints.qwen3 import build

VECTOR = Readout("vector")
READOUTS = (VECTOR, Readout("score"), Readout("logits", (7, 3, 7)), Readout("logits"))
# A text of one chunk, of two with a short second one, and of many.
LENGTHS = (700, 1050, 3001)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("checkpoint"), "reranker", num_hidden_layers=3)


@cache
def _backend(folder: Path, dtype: Dtype = "float32", pooling: Pooling = "lasttoken") -> PackedBackend:
    info = replace(load_preprocessor(folder).info, pooling=pooling)
    return load(Checkpoint(folder), info, LoadOptions(dtype=dtype))


def _text(tokens: int, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(0, 286, tokens, dtype=np.int32)


def _whole(backend: PackedBackend, ids: Ids, readout: Readout = VECTOR) -> Row:
    return backend.launch([Item(ids, readout)]).rows()[0]


def _rows(backend: PackedBackend, ids: Ids, parts: int, readout: Readout = VECTOR, *, exact: bool = False) -> list[Row]:
    split = SplitPass(exact)
    shares = [number / parts for number in range(1, parts + 1)]
    return [row for until in shares for row in backend.launch([Item(ids, readout, split, until)]).rows()]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tokens", LENGTHS)
@pytest.mark.parametrize("parts", [2, 100])
def test_a_row_does_not_depend_on_the_parts(folder: Path, dtype: Dtype, tokens: int, parts: int) -> None:
    backend, ids = _backend(folder, dtype), _text(tokens)

    *before, row = _rows(backend, ids, parts)

    assert np.array_equal(row, _whole(backend, ids))
    assert [len(nothing) for nothing in before] == [0] * (parts - 1)


@pytest.mark.parametrize("readout", READOUTS, ids=str)
def test_every_readout_comes_from_parts(folder: Path, readout: Readout) -> None:
    backend, ids = _backend(folder), _text(2000)

    assert np.array_equal(_rows(backend, ids, 5, readout)[-1], _whole(backend, ids, readout))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_every_pooling_comes_from_parts(folder: Path, pooling: Pooling) -> None:
    backend, ids = _backend(folder, pooling=pooling), _text(2000)

    np.testing.assert_allclose(_rows(backend, ids, 5)[-1], _whole(backend, ids), atol=1e-5)


def test_other_batches_between_the_parts_change_nothing(folder: Path) -> None:
    backend, one, other = _backend(folder), _text(2000), _text(1500, seed=1)
    texts, splits = (one, other), (SplitPass(), SplitPass())

    for until in (0.3, 0.7, 1.0):
        rows = [
            backend.launch([Item(ids, VECTOR, split, until)]).rows()[0]
            for ids, split in zip(texts, splits, strict=True)
        ]
        backend.launch([Item(one[:300], VECTOR), Item(one[:310], VECTOR)], keep_prefix=True).rows()

    assert np.array_equal(rows[0], _whole(backend, one))
    assert np.array_equal(rows[1], _whole(backend, other))


def test_an_exact_pass_has_float32_activations(folder: Path) -> None:
    backend, ids = _backend(folder, "bfloat16"), _text(1500)

    row = _rows(backend, ids, 3, exact=True)[-1]

    assert np.array_equal(row, backend._rerun(Item(ids, VECTOR)).numpy()[0])
    assert not np.array_equal(row, _whole(backend, ids))


def test_a_row_with_nan_fails_so_that_the_text_can_run_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, ids = load(Checkpoint(folder), load_preprocessor(folder).info, LoadOptions(dtype="bfloat16")), _text(1500)
    monkeypatch.setattr(backend._network, "norm", torch.full((96,), torch.nan))

    with pytest.raises(NonFinite):
        _rows(backend, ids, 3)
