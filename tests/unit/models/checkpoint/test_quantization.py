"""Quantised weights: what is read, and what is said of the rest."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models import ModelError
from models.checkpoint.folder import Checkpoint
from models.checkpoint.quantization import check_quantised, count_parameters


def write(folder: Path, method: str | None, **tensors: torch.Tensor) -> Checkpoint:
    entries = {} if method is None else {"quantization_config": {"quant_method": method}}
    (folder / "config.json").write_text(json.dumps({"model_type": "x", **entries}))
    save_file(tensors, folder / "model.safetensors")
    return Checkpoint(folder)


@pytest.mark.parametrize("method", [None, "mxfp4"])
def test_plain_and_mxfp4_weights_are_read(tmp_path: Path, method: str | None) -> None:
    check_quantised(write(tmp_path, method, weight=torch.zeros(2)))


@pytest.mark.parametrize(
    ("method", "advice"), [("fp8", r"fp8_cast_bf16\.py"), ("gptq", "use the checkpoint that it was made from")]
)
def test_others_are_refused_with_what_to_do(tmp_path: Path, method: str, advice: str) -> None:
    with pytest.raises(ModelError, match=rf"quantised as {method}, which is not supported.*{advice}"):
        check_quantised(write(tmp_path, method, weight=torch.zeros(2)))


def test_the_memory_that_plain_weights_take_is_said(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, "fp8", weight=torch.zeros(2, dtype=torch.float8_e4m3fn))
    checkpoint.__dict__["tensors"] = {"weight": (1_000_000, 1_300), "weight_scale_inv": (8, 8)}

    with pytest.raises(ModelError, match=r"need 3 GB of memory$"):
        check_quantised(checkpoint)


def test_numbers_that_share_a_byte_are_counted_and_scales_are_not(tmp_path: Path) -> None:
    blocks = {"w_blocks": torch.zeros(3, 2, 16, dtype=torch.uint8), "w_scales": torch.zeros(3, 2, dtype=torch.uint8)}
    eights = {"v": torch.zeros(5), "v_scale_inv": torch.zeros(1)}

    assert count_parameters(write(tmp_path, "mxfp4", **blocks, **eights)) == 3 * 2 * 32 + 5
