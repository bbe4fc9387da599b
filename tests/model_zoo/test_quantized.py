"""Published weight formats: what the small twins store is what the library reads and what the server computes with."""

from pathlib import Path

import pytest
import torch
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from models import ModelError, load_preprocessor
from tests.support.zoo.build import build_quantised
from tests.support.zoo.catalogue import ZOO
from tests.support.zoo.families.quantized import fp8, mxfp4
from tests.support.zoo.measure import measure
from tests.support.zoo.recipe import Recipe
from tests.support.zoo.verdict import faults

GPT_OSS = next(recipe for recipe in ZOO if recipe.quantised == "mxfp4")


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


async def test_mxfp4_weights_give_the_results_of_what_they_mean(tmp_path: Path) -> None:
    stored, meant = build_quantised(GPT_OSS, tmp_path)

    measurement = await measure(GPT_OSS, stored, reference=meant)

    assert faults(measurement) == []
    assert measurement.about["parameters"] == 526_560


@pytest.mark.parametrize("recipe", [recipe for recipe in ZOO if recipe.quantised == "fp8"], ids=lambda it: it.name)
def test_fp8_weights_are_refused_with_what_to_do(recipe: Recipe, tmp_path: Path) -> None:
    stored, _ = build_quantised(recipe, tmp_path)

    with pytest.raises(ModelError, match=r"quantised as fp8, which is not supported.*fp8_cast_bf16\.py"):
        load_preprocessor(stored)
