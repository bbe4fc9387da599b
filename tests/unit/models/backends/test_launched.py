"""A failed launch holds no memory, and a lost device raises DeviceLost."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models import Backend, DeviceLost, Item, LoadOptions, OutOfMemory, Readout, load_backend, load_preprocessor
from models.backends.huggingface.sentence_transformers_backend import ModulesBackend
from models.backends.huggingface.transformers_backend import TransformersBackend
from models.backends.launched import Launched
from models.backends.packed import PackedBackend
from tests.support.checkpoints.qwen3 import build

ITEM = Item(np.array([5, 6, 7], np.int32), Readout("vector"))
Fill = Callable[..., Any]


def packed(backend: Backend, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(backend, PackedBackend)
    monkeypatch.setattr(backend._network.layers[1], "down_proj", fill)


def transformers(backend: Backend, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(backend, TransformersBackend)
    monkeypatch.setattr(part_of(backend._network.module), "forward", fill)


def sentence_transformers(backend: Backend, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(backend, ModulesBackend)
    monkeypatch.setattr(part_of(backend._modules[0].model), "forward", fill)


def part_of(network: Any) -> nn.Module:
    part = network.layers[1].mlp.down_proj
    assert isinstance(part, nn.Module)
    return part


@pytest.mark.parametrize("patch", [packed, transformers, sentence_transformers], ids=lambda patch: patch.__name__)
def test_activations_of_a_batch_that_did_not_fit_are_freed(
    tmp_path: Path, patch: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(tmp_path, "embedder")
    options = LoadOptions(dtype="float32", backend=patch.__name__)
    backend = load_backend(folder, load_preprocessor(folder).info, options)
    seen: list[weakref.ref[torch.Tensor]] = []

    def full(hidden: torch.Tensor) -> torch.Tensor:
        seen.append(weakref.ref(hidden))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    patch(backend, full, monkeypatch)
    pending = backend.launch([ITEM])

    assert [tensor() for tensor in seen] == [None]
    with pytest.raises(OutOfMemory, match=r"20\.00 GiB$"):
        pending.rows()


def test_a_device_that_is_lost_is_told_when_it_is_asked_for_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    pending = Launched([ITEM], [[0]], [torch.ones(1, 4)])

    monkeypatch.setattr(pending._copy, "done", _raising("CUDA error: unspecified launch failure"))

    with pytest.raises(DeviceLost, match="unspecified launch failure"):
        pending.done()


def test_memory_that_ran_out_is_told_where_the_batch_can_be_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    pending = Launched([ITEM], [[0]], [torch.ones(1, 4)])
    monkeypatch.setattr(pending._copy, "done", _raising("CUDA error: out of memory"))
    monkeypatch.setattr(pending._copy, "wait", _raising("CUDA error: out of memory"))

    assert pending.done()
    with pytest.raises(OutOfMemory):
        pending.rows()


def _raising(text: str) -> Fill:
    def raise_it() -> None:
        raise torch.AcceleratorError(text)

    return raise_it


def test_finite_rows_are_checked_by_one_call_for_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[tuple[int, ...]] = []
    isfinite = np.isfinite
    monkeypatch.setattr(np, "isfinite", lambda matrix: checked.append(matrix.shape) or isfinite(matrix))

    rows = Launched([ITEM] * 3, [[0, 2], [1]], [torch.ones(2, 4), torch.zeros(1, 5)]).rows()

    assert checked == [(2, 4), (1, 5)]
    assert [row.sum() for row in rows] == [4, 0, 4]
