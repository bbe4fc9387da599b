"""Published weight formats: what the small twins store is what the library reads and what the server computes with."""

from pathlib import Path

import pytest
import torch
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from models.checkpoint.folder import Checkpoint
from tests.support.zoo.build import build_quantised
from tests.support.zoo.catalogue import ZOO
from tests.support.zoo.families.quantized import FP8_BLOCK, fp8, mxfp4
from tests.support.zoo.measure import measure
from tests.support.zoo.recipe import Recipe
from tests.support.zoo.verdict import faults

METHODS = {"mxfp4": "mxfp4", "fp8": f"fp8, blocks of {FP8_BLOCK} x {FP8_BLOCK}"}


def test_mxfp4_means_what_the_library_reads() -> None:
    matrix = torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(0))
    stored, meant = mxfp4({"mlp.experts.gate_up_proj": matrix, "norm.weight": torch.ones(3)})

    blocks, scales = (stored[f"mlp.experts.gate_up_proj_{part}"] for part in ("blocks", "scales"))
    assert (blocks.shape, scales.shape) == ((3, 96, 2, 16), (3, 96, 2))
    assert torch.equal(
        convert_moe_packed_tensors(blocks, scales, dtype=torch.float32), meant["mlp.experts.gate_up_proj"]
    )
    assert (meant["mlp.experts.gate_up_proj"] - matrix).abs().mean() < 0.15
    assert torch.equal(stored["norm.weight"], torch.ones(3))


def test_fp8_means_what_the_library_reads() -> None:
    matrix = torch.randn(48, 32, generator=torch.Generator().manual_seed(0))
    stored, meant = fp8({"self_attn.o_proj.weight": matrix})

    read = Fp8Dequantize(None)._dequantize_one(
        stored["self_attn.o_proj.weight"], stored["self_attn.o_proj.weight_scale_inv"], torch.float32
    )
    assert torch.equal(read, meant["self_attn.o_proj.weight"])
    assert (read - matrix).abs().max() < 0.15


def test_a_last_block_may_be_smaller() -> None:
    matrix = torch.randn(40, 24, generator=torch.Generator().manual_seed(0))
    stored, meant = fp8({"kv_a_proj_with_mqa.weight": matrix})

    assert stored["kv_a_proj_with_mqa.weight_scale_inv"].shape == (3, 2)
    assert (meant["kv_a_proj_with_mqa.weight"] - matrix).abs().max() < 0.15


@pytest.mark.parametrize("recipe", [recipe for recipe in ZOO if recipe.quantised], ids=lambda it: it.name)
async def test_published_formats_give_the_results_of_what_they_mean(recipe: Recipe, tmp_path: Path) -> None:
    stored, meant = build_quantised(recipe, tmp_path)

    measurement = await measure(recipe, stored, reference=meant)

    assert faults(measurement) == []
    with_plain_weights = Checkpoint(meant)
    assert measurement.about["parameters"] == with_plain_weights.parameters
    assert measurement.about["quantization"] == METHODS[str(recipe.quantised)]
