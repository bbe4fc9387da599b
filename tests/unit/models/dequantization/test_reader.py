"""Every format, read tensor by tensor: the numbers that numpy gives, to the last bit."""

import json
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint.folder import Checkpoint
from models.dequantization.reader import TensorReader
from tests.support.checkpoints.quantized import FORMATS, Format

# Blocks of 128 that are partial in rows, in columns and in both; 576 rows are of DeepSeek's kv_a_proj_with_mqa.
SHAPES = ((192, 256), (576, 128), (100, 300), (1, 64))
NAME = "model.layers.0.self_attn.q_proj"


def write(folder: Path, format_: Format, shape: tuple[int, int]) -> tuple[Checkpoint, torch.Tensor]:
    rows, columns = (length - length % step or step for length, step in zip(shape, format_.multiple, strict=True))
    matrix = np.random.default_rng(rows).normal(size=(rows, columns)).astype(np.float32)
    parts, meant = format_.quantize(matrix)
    beside = {"model.norm.weight": torch.ones(3, dtype=torch.bfloat16), f"{NAME}.bias": torch.zeros(rows)}
    save_file({f"{NAME}.{leaf}": part for leaf, part in parts.items()} | beside, folder / "model.safetensors")
    config = {"model_type": "x", "quantization_config": format_.config}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    assert np.abs(meant - matrix).max() < 1.5 * np.abs(matrix).max(), "the format keeps something of the matrix"
    return Checkpoint(folder), torch.from_numpy(meant.copy())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("format_", FORMATS, ids=lambda it: it.name)
def test_each_format_is_read_to_the_last_bit(format_: Format, shape: tuple[int, int], tmp_path: Path) -> None:
    checkpoint, meant = write(tmp_path, format_, shape)

    with closing(TensorReader(checkpoint)) as weights:
        wide = weights.read(f"{NAME}.weight", torch.float32)
        half = weights.read(f"{NAME}.weight", torch.bfloat16)

    assert torch.equal(wide, meant)
    assert torch.equal(half, meant.bfloat16())
    assert checkpoint.tensors == {
        "model.norm.weight": (3,),
        f"{NAME}.bias": (meant.shape[0],),
        f"{NAME}.weight": tuple(meant.shape),
    }
    assert checkpoint.plan is not None
    assert checkpoint.plan.method == format_.described


def test_a_plain_weight_is_read_as_it_is_stored(tmp_path: Path) -> None:
    checkpoint, _ = write(tmp_path, FORMATS[0], (192, 256))

    with closing(TensorReader(checkpoint)) as weights:
        assert weights.read("model.norm.weight", torch.float32).dtype == torch.bfloat16


def test_a_lazy_weight_answers_as_a_slice_of_a_file(tmp_path: Path) -> None:
    checkpoint, meant = write(tmp_path, FORMATS[0], (192, 256))

    with closing(TensorReader(checkpoint)) as weights:
        lazy = weights.lazy(torch.float32)[f"{NAME}.weight"]

        assert (lazy.get_shape(), lazy.get_dtype()) == ([192, 256], "F32")
        assert torch.equal(lazy[...], meant)
        assert torch.equal(lazy[:2, 1:], meant[:2, 1:])
