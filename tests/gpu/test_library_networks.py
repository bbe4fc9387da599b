"""Library networks on CUDA: attention inside sequences by varlen_attn, and parity of unpadded texts with the CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models import Item, LoadOptions, Readout, load_backend
from models.interface import Dtype
from models.layers import sequence_attention as sequences
from models.layers.sequence_attention import Rule, SequenceLayout
from tests.support.networks.one_at_a_time import cosines
from tests.support.networks.tiny_networks import CONFIGS, alone, save, texts

LENGTHS = (7, 1, 40, 13, 300)
WIDTH = 64
UNPADDED = (
    "bert",
    "xlm-roberta",
    "modernbert",
    "embeddinggemma",
    "qwen2",
    "mistral",
    "gpt_oss",
    "deepseek_v3",
    "glm4_moe",
)
# bfloat16 on the CPU itself gives 0.9986: rounding routes a token to another expert.
ROUTED_BFLOAT16 = {"glm4_moe": 0.995}
PADDED = ("bert", "qwen2", "modernbert", "gemma3_text", "gpt_oss", "mpnet", "deberta-v2", "lfm2", "mamba")


def tensors(groups: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator("cuda").manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, sum(LENGTHS), WIDTH, generator=random, device="cuda").bfloat16()
        for heads in (8, groups, groups)
    )
    return query, key, value


@pytest.mark.usefixtures("varlen")
@pytest.mark.parametrize("groups", [8, 2])
@pytest.mark.parametrize("window", [None, 1, 17])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("sinks", [True, False])
def test_one_call_for_all_sequences_equals_one_after_another(
    groups: int, window: int | None, causal: bool, sinks: bool
) -> None:
    query, key, value = tensors(groups)
    rule = Rule(causal=causal, window=window, scale=0.2, sinks=torch.linspace(-2, 3, 8).cuda() if sinks else None)
    packing = SequenceLayout(LENGTHS, torch.device("cuda"))

    states = packing.in_one_call(query, key, value, rule).float()

    wanted = packing.one_by_one(query.float(), key.float(), value.float(), rule)
    assert (states - wanted).abs().max() < 0.03


@pytest.mark.usefixtures("varlen")
def test_the_fast_kernel_is_taken_where_it_is_right() -> None:
    sequences._is_exact_in_one_call.cache_clear()

    assert sequences._is_exact_in_one_call((8, 2, WIDTH), torch.bfloat16, torch.device("cuda"), True, 17)


@pytest.mark.parametrize("kind", UNPADDED)
@pytest.mark.parametrize(("dtype", "wanted"), [("float32", 0.99999), ("bfloat16", 0.999)])
def test_unpadded_texts_equal_one_at_a_time_on_the_cpu(tmp_path: Path, kind: str, dtype: Dtype, wanted: float) -> None:
    info = save(tmp_path, CONFIGS[kind]())

    backend = load_backend(tmp_path, info, LoadOptions(dtype=dtype, device="cuda"))

    rows = np.stack(backend.launch([Item(ids, Readout("vector")) for ids in texts()]).rows())
    if dtype == "bfloat16":
        wanted = ROUTED_BFLOAT16.get(kind, wanted)
    assert backend.info.layout == "unpadded", backend.info.layout_reason
    assert cosines(rows, alone(tmp_path)).min() >= wanted


@pytest.mark.parametrize("kind", PADDED)
def test_padded_texts_equal_one_at_a_time_on_the_cpu(tmp_path: Path, kind: str) -> None:
    info = save(tmp_path, CONFIGS[kind]())

    backend = load_backend(tmp_path, info, LoadOptions(dtype="float32", device="cuda", backend="transformers-padded"))

    rows = np.stack(backend.launch([Item(ids, Readout("vector")) for ids in texts()]).rows())
    assert backend.info.layout == "padded"
    assert cosines(rows, alone(tmp_path)).min() >= 0.99999


@pytest.mark.usefixtures("varlen")
def test_launch_does_not_wait_for_the_device(tmp_path: Path) -> None:
    backend = load_backend(tmp_path, save(tmp_path, CONFIGS["bert"]()), LoadOptions(dtype="bfloat16", device="cuda"))
    items = [Item(ids, Readout("vector")) for ids in texts()]
    backend.launch(items).rows()
    torch.cuda._sleep(2_000_000_000)  # about a second of the device's time

    pending = backend.launch(items)

    assert not pending.done()
    assert len(pending.rows()) == len(items)
