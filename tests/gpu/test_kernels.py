"""The kernels on CUDA equal their plain twins, and a model that runs on them says so."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models import Item, LoadOptions, Readout, load_backend, load_preprocessor
from models.cuda import choice
from models.cuda.choice import LayerShape, differences, load_kernels
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.one_at_a_time import cosines

SHAPES = {
    "0.6B": LayerShape(hidden=1024, intermediate=3072, heads=16, groups=8, head_dim=128),
    "4B": LayerShape(hidden=2560, intermediate=9728, heads=32, groups=8, head_dim=128),
    "8B": LayerShape(hidden=4096, intermediate=12288, heads=32, groups=8, head_dim=128),
    "odd sizes": LayerShape(hidden=72, intermediate=88, heads=10, groups=2, head_dim=64),
    "one group": LayerShape(hidden=64, intermediate=100, heads=8, groups=1, head_dim=32),
}


@pytest.mark.usefixtures("varlen")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_kernel_equals_its_plain_twin(shape: str, dtype: torch.dtype) -> None:
    assert differences(load_kernels(), SHAPES[shape], torch.device("cuda"), dtype) == []


@pytest.mark.usefixtures("varlen")
@pytest.mark.parametrize("fused", [True, False])
def test_vectors_are_those_of_the_processor_with_kernels_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fused: bool
) -> None:
    folder = build(tmp_path, dtype=torch.bfloat16, head_dim=64, num_hidden_layers=4)
    info = load_preprocessor(folder).info
    head = np.arange(90, dtype=np.int32)
    items = [Item(np.concatenate([head, np.arange(n, dtype=np.int32)]), Readout("vector")) for n in (1, 60, 200)]
    truth = load_backend(folder, info, LoadOptions(device="cpu", dtype="float32", backend="packed"))
    if not fused:
        monkeypatch.setattr(choice, "load_kernels", lambda: 1 / 0)

    backend = load_backend(folder, info, LoadOptions(device="cuda", dtype="bfloat16", backend="packed"))

    assert backend.info.fused == fused, backend.info.fused_reason
    assert cosines(backend.launch(items).rows(), truth.launch(items).rows()).min() >= 0.999
