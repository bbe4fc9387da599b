"""The forward benchmark's own arithmetic: lengths are exact, batches count new tokens, work counts what is needed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.forward import KEY_VALUE_PARAMETERS, LAYER_PARAMETERS, machine_of, work_gflop, worst_cosine
from benchmarks.support.checkpoints import qwen3_embedder
from benchmarks.support.contenders import (
    BATCH_TOKENS,
    CPU_SCALE,
    GPU_SCALE,
    batches,
    packed,
    scale_of,
    sentence_transformers,
    transformers_padded,
)
from benchmarks.support.workloads import HEAD_TOKENS, TERMINATOR_ID, mixed, query, rerank, uniform
from models import LoadOptions, load_backend, load_preprocessor

CPU = torch.device("cpu")
SMALL = {
    "vocab_size": 320,
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}


def test_lengths_are_exact_and_end_with_the_terminator() -> None:
    workload = uniform(texts=3, tokens=128)

    assert [len(ids) for ids in workload.ids] == [128, 128, 128]
    assert {int(ids[-1]) for ids in workload.ids} == {TERMINATOR_ID}


def test_mixed_lengths_are_the_same_for_a_seed_and_bounded() -> None:
    lengths = [len(ids) for ids in mixed(1).ids]

    assert lengths == [len(ids) for ids in mixed(1).ids]
    assert len(lengths) == 64
    assert max(lengths) <= 512


def test_documents_share_the_query_and_unshared_ones_do_not() -> None:
    shared, unshared = rerank().ids, rerank(shared=False).ids

    assert (shared[0][:HEAD_TOKENS] == shared[99][:HEAD_TOKENS]).all()
    assert [len(ids) for ids in shared] == [len(ids) for ids in unshared]
    assert (unshared[0][:HEAD_TOKENS] != unshared[99][:HEAD_TOKENS]).any()


def test_a_batch_is_filled_with_new_tokens() -> None:
    head = np.arange(BATCH_TOKENS // 2, dtype=np.int32)
    texts = [np.concatenate([head, np.full(BATCH_TOKENS // 4, 5000 + n, dtype=np.int32)]) for n in range(4)]

    assert [len(batch) for batch in batches(texts)] == [2, 2]


def test_a_gpu_s_workloads_fill_two_batches_or_more() -> None:
    tokens = [uniform(GPU_SCALE.uniform).tokens, mixed(0, GPU_SCALE.mixed).tokens]
    shared = batches(rerank(GPU_SCALE.documents).ids, GPU_SCALE.batch_tokens)

    assert min(tokens) >= 2 * GPU_SCALE.batch_tokens
    assert len(shared) >= 2
    assert scale_of(torch.device("cuda")) == GPU_SCALE


def test_a_processor_s_are_those_of_the_committed_results() -> None:
    assert scale_of(CPU) == CPU_SCALE
    assert [uniform(CPU_SCALE.uniform).tokens, mixed(0, CPU_SCALE.mixed).tokens] == [2048, 5237]
    assert machine_of(CPU, "wall").keys() == {"processor", "threads", "clock", "torch"}


@pytest.mark.filterwarnings("ignore")
def test_contenders_agree(tmp_path: Path) -> None:
    folder = qwen3_embedder(tmp_path, **SMALL)
    workload = mixed(0, texts=5)
    options = LoadOptions(dtype="bfloat16", device="cpu", backend="packed")
    ours = packed(load_backend(folder, load_preprocessor(folder).info, options))(workload)

    assert worst_cosine(ours, transformers_padded(folder, 2, CPU)(workload)) > 0.999
    assert worst_cosine(ours, sentence_transformers(folder, CPU)(2)(workload)) > 0.999


def test_work_is_every_layer_but_for_what_the_last_one_leaves_out() -> None:
    assert work_gflop(query(10), 1) * 1e9 == 2 * (9 * KEY_VALUE_PARAMETERS + LAYER_PARAMETERS)


def test_the_worst_row_decides() -> None:
    same, turned = np.eye(2, dtype=np.float32), np.array([[1, 0], [1, 0]], dtype=np.float32)

    assert worst_cosine(same, turned) == 0.0
