"""Before a model serves: what is set on a GPU, what fits into its memory, and what a batch takes of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models import Backend, LoadOptions, ModelInfo, limit_memory, load_backend, load_preprocessor, warm_up
from models.devices import choose_device
from tests.support.checkpoints.qwen3 import build
from tests.support.simulated_cuda.device import MEMORY_BYTES
from tests.support.simulated_cuda.tensor import GPU


@pytest.fixture
def loaded(tmp_path: Path) -> tuple[Backend, ModelInfo]:
    folder = build(tmp_path, dtype=torch.bfloat16)
    info = load_preprocessor(folder).info
    return load_backend(folder, info, LoadOptions(dtype="bfloat16", device="cuda", backend="packed")), info


@pytest.fixture
def _all_memory_afterwards() -> Iterator[None]:
    yield
    GPU.limit_memory(1.0)


def test_memory_of_a_batch_is_measured_by_its_size(loaded: tuple[Backend, ModelInfo]) -> None:
    costs = warm_up(*loaded, 512)

    assert [cost.tokens for cost in costs] == [16, 32, 64, 128, 256, 512]
    peaks = [cost.peak_bytes or 0 for cost in costs]
    assert peaks == sorted(peaks)
    assert peaks[-1] > peaks[0] > 0


@pytest.mark.usefixtures("_all_memory_afterwards")
def test_in_a_share_of_the_memory_smaller_batches_fit(loaded: tuple[Backend, ModelInfo]) -> None:
    costs = warm_up(*loaded, 512)
    held = torch.cuda.memory_allocated()
    most = (costs[0].peak_bytes or 0) + (costs[-1].peak_bytes or 0)

    limit_memory("cuda", (held + most / 2) / MEMORY_BYTES)
    costs = warm_up(*loaded, 512)

    assert 16 <= costs[-1].tokens < 512


def test_the_chosen_device_becomes_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)

    for name in ("cuda:0", "cuda", "auto", "cpu"):
        choose_device(name)

    assert current == [torch.device("cuda:0")]


def test_products_of_half_precision_are_summed_in_float32() -> None:
    choose_device("cuda")

    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    assert not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
