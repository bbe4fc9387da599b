"""The packed backend on CUDA: parity against the CPU, batches that do not wait, and errors as promised."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import Backend, Item, LoadOptions, NonFinite, OutOfMemory, Readout, load_backend, load_preprocessor
from models.backends.packed import PackedBackend
from models.interface import Dtype, Ids, Pooling
from tests.support.checkpoints.calibration import DOCUMENTS, INSTRUCTION, QUERIES
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.one_at_a_time import Matrix, cosines, sigmoid

VECTOR, SCORE = Readout("vector"), Readout("score")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("gpu"), "reranker", dtype=torch.bfloat16, head_dim=64, num_hidden_layers=4)


def backend(folder: Path, dtype: Dtype, where: str = "cuda", pooling: Pooling = "lasttoken") -> PackedBackend:
    info = replace(load_preprocessor(folder).info, pooling=pooling)
    loaded = load_backend(folder, info, LoadOptions(dtype=dtype, device=where, backend="packed"))
    assert isinstance(loaded, PackedBackend)
    return loaded


def texts() -> list[Ids]:
    random = np.random.default_rng(7)
    head = random.integers(0, 286, 90, dtype=np.int32)
    drawn = [random.integers(0, 286, n, dtype=np.int32) for n in (1, 2, 33, 33, 300, 2000)]
    return [*drawn, *(np.concatenate([head, ids]) for ids in drawn[:4]), head]


def pairs(folder: Path) -> list[Ids]:
    frame = load_preprocessor(folder).rerank
    assert frame is not None
    heads = [frame.head(INSTRUCTION, query) for query in QUERIES]
    return [frame.join(head, ids) for head in heads for ids in frame.documents(DOCUMENTS)]


def vectors(loaded: Backend, items: list[Ids]) -> Matrix:
    return np.stack(loaded.launch([Item(ids, VECTOR) for ids in items]).rows())


def scores(loaded: Backend, items: list[Ids]) -> Matrix:
    return np.concatenate(loaded.launch([Item(ids, SCORE) for ids in items]).rows())


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.999999), ("bfloat16", 0.999)])
def test_vectors_equal_those_of_the_processor(folder: Path, dtype: Dtype, least: float) -> None:
    truth = vectors(backend(folder, "float32", "cpu"), texts())

    assert cosines(vectors(backend(folder, dtype), texts()), truth).min() >= least


@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_scores_equal_those_of_the_processor(folder: Path, dtype: Dtype, most: float) -> None:
    truth = sigmoid(scores(backend(folder, "float32", "cpu"), pairs(folder)))

    assert np.abs(sigmoid(scores(backend(folder, dtype), pairs(folder))) - truth).max() <= most


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("readout", [VECTOR, Readout("logits", (1, 2, 3, 4, 5)), Readout("logits")], ids=str)
def test_every_read_out_equals_that_of_the_processor(folder: Path, readout: Readout, dtype: Dtype) -> None:
    items = [Item(ids, readout) for ids in texts()]
    truth = backend(folder, "float32", "cpu").launch(items).rows()

    assert cosines(backend(folder, dtype).launch(items).rows(), truth).min() >= 0.999


def test_a_prefix_that_is_kept_serves_the_batch_after_the_one_in_flight(folder: Path) -> None:
    loaded = backend(folder, "bfloat16")
    head = np.arange(90, dtype=np.int32)
    items = [np.concatenate([head, ids]) for ids in texts()[:6]]
    truth = vectors(backend(folder, "float32", "cpu"), items)
    batches = [[Item(ids, VECTOR) for ids in items[start : start + 2]] for start in (0, 2, 4)]

    pending = [loaded.launch(batch, keep_prefix=True) for batch in batches[:2]]
    rows = pending[0].rows()
    pending.append(loaded.launch(batches[2], keep_prefix=True))  # continues the prefix of the first batch
    rows += [row for batch in pending[1:] for row in batch.rows()]

    assert cosines(rows, truth).min() >= 0.999


def test_a_text_is_the_same_alone_and_in_a_batch(folder: Path) -> None:
    loaded = backend(folder, "bfloat16")
    alone = np.stack([vectors(loaded, [ids])[0] for ids in texts()])

    assert cosines(alone, vectors(loaded, texts())).min() >= 0.999


def test_two_batches_in_flight_give_their_own_rows(folder: Path) -> None:
    loaded = backend(folder, "bfloat16")
    first, second = texts()[:4], texts()[4:]
    wanted = vectors(loaded, first), vectors(loaded, second)

    pending = [loaded.launch([Item(ids, VECTOR) for ids in batch]) for batch in (first, second)]
    rows = [np.stack(batch.rows()) for batch in pending]

    assert cosines(rows[0], wanted[0]).min() >= 0.999
    assert cosines(rows[1], wanted[1]).min() >= 0.999
    assert all(batch.done() for batch in pending)


@pytest.mark.parametrize("pooling", ["lasttoken", "cls", "max", "mean"])
def test_launch_does_not_wait_for_the_device(folder: Path, pooling: Pooling) -> None:
    loaded = backend(folder, "bfloat16", pooling=pooling)
    loaded.launch([Item(ids, VECTOR) for ids in texts()]).rows()
    torch.cuda._sleep(2_000_000_000)  # about a second of the device's time

    pending = loaded.launch([Item(ids, VECTOR) for ids in texts()])

    assert not pending.done()
    assert len(pending.rows()) == len(texts())


def test_too_large_a_batch_is_told_as_memory_and_the_next_one_runs(folder: Path) -> None:
    loaded = backend(folder, "bfloat16")
    before = torch.cuda.memory_allocated()
    torch.cuda.set_per_process_memory_fraction(0.001)
    try:
        pending = loaded.launch([Item(np.arange(4000, dtype=np.int32) % 286 + n, VECTOR) for n in range(30)])
        held = torch.cuda.memory_allocated() - before
        with pytest.raises(OutOfMemory):
            pending.rows()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert held < 2**20
    assert np.isfinite(vectors(loaded, texts())).all()


def test_nan_is_told_for_its_rows(folder: Path) -> None:
    loaded = backend(folder, "bfloat16")
    loaded._network.embed_tokens[299] = torch.nan

    with pytest.raises(NonFinite) as caught:
        vectors(loaded, [texts()[2], np.array([299], dtype=np.int32)])

    assert caught.value.indexes == (1,)
