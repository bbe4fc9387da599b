"""launch() enqueues a batch and returns: no backend, layout or read-out makes the host wait for the device.

Where a library's own code waits, WAITS names the number, which may only go down.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import modules as library

from models import Backend, Item, LoadOptions, Readout, load_backend, load_preprocessor
from models.interface import Dtype, Ids, Kind, Pooling
from tests.support.checkpoints.classifiers import cross_encoder
from tests.support.checkpoints.encoders import WIDTH, save_encoder
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.tiny_networks import CONFIGS, save, texts
from tests.support.simulated_cuda.tensor import GPU

VECTOR, SCORE, LOGITS = Readout("vector"), Readout("score"), Readout("logits")
OPTIONS = LoadOptions(dtype="bfloat16", device="cuda")
TWO_POOLINGS = (library.Pooling(WIDTH, ("cls", "mean")), library.Dense(2 * WIDTH, 20))

Make = Callable[[Path], Backend]


def packed(
    kind: Kind = "reranker", *, pooling: Pooling = "lasttoken", dtype: Dtype = "bfloat16", tied: bool = True
) -> Make:
    def make(folder: Path) -> Backend:
        build(folder, kind, dtype=torch.bfloat16, head_dim=64, tie_word_embeddings=tied)
        info = replace(load_preprocessor(folder).info, pooling=pooling)
        return load_backend(folder, info, replace(OPTIONS, dtype=dtype, backend="packed"))

    return make


def network(name: str, *, backend: str = "auto", pooling: Pooling = "mean") -> Make:
    return lambda folder: load_backend(
        folder, save(folder, CONFIGS[name](), pooling), replace(OPTIONS, backend=backend)
    )


def loaded(write: Callable[[Path], Path]) -> Make:
    def make(folder: Path) -> Backend:
        path = write(folder / "model")
        return load_backend(path, load_preprocessor(path).info, OPTIONS)

    return make


# What runs, its read-out, the backend and the layout.
CASES: Mapping[str, tuple[Make, Readout, str, str]] = {
    "last token": (packed(), VECTOR, "packed", "packed"),
    "mean": (packed(pooling="mean"), VECTOR, "packed", "packed"),
    "first token": (packed(pooling="cls"), VECTOR, "packed", "packed"),
    "maximum": (packed(pooling="max"), VECTOR, "packed", "packed"),
    "float32": (packed(dtype="float32"), VECTOR, "packed", "packed"),
    "score": (packed(), SCORE, "packed", "packed"),
    "logits of few tokens": (packed(), replace(LOGITS, ids=(1, 2, 3)), "packed", "packed"),
    "logits of many tokens": (packed(), replace(LOGITS, ids=tuple(range(100))), "packed", "packed"),
    "logits of every token": (packed(), LOGITS, "packed", "packed"),
    "logits, head of its own": (packed("llm", tied=False), replace(LOGITS, ids=(1, 2)), "packed", "packed"),
    "logits of every token, head of its own": (packed("llm", tied=False), LOGITS, "packed", "packed"),
    "bert": (network("bert"), VECTOR, "encoder", "unpadded"),
    "bert, first token": (network("bert", pooling="cls"), VECTOR, "encoder", "unpadded"),
    "bert of the library": (network("bert", backend="transformers"), VECTOR, "transformers", "unpadded"),
    "xlm-roberta": (network("xlm-roberta"), VECTOR, "transformers", "unpadded"),
    "modernbert": (network("modernbert"), VECTOR, "transformers", "unpadded"),
    "embeddinggemma": (network("embeddinggemma"), VECTOR, "transformers", "unpadded"),
    "qwen2": (network("qwen2", pooling="lasttoken"), VECTOR, "transformers", "unpadded"),
    "gpt_oss": (network("gpt_oss"), VECTOR, "transformers", "unpadded"),
    "glm4_moe": (network("glm4_moe"), VECTOR, "transformers", "unpadded"),
    "deepseek_v3": (network("deepseek_v3"), VECTOR, "transformers", "unpadded"),
    "cross-encoder": (loaded(lambda folder: cross_encoder(folder, "Bert")), SCORE, "transformers", "unpadded"),
    "bert, padded": (network("bert", backend="transformers-padded"), VECTOR, "transformers", "padded"),
    "qwen2, padded": (network("qwen2", backend="transformers-padded"), VECTOR, "transformers", "padded"),
    "mpnet": (network("mpnet"), VECTOR, "transformers", "padded"),
    "lfm2": (network("lfm2"), VECTOR, "transformers", "padded"),
    "mamba": (network("mamba"), VECTOR, "transformers", "padded"),
    "deberta-v2": (network("deberta-v2"), VECTOR, "transformers", "padded"),
    "two poolings": (
        loaded(lambda folder: save_encoder(folder, TWO_POOLINGS)), VECTOR, "sentence_transformers", "padded"
    ),
}  # fmt: skip
# Some of the vocabularies are this small.
BATCH = [ids % 40 for ids in texts()]
# In groups with padding the masks of transformers ask the device for it; DeBERTa makes numbers on the host.
WAITS = {
    "bert, padded": 2,
    "qwen2, padded": 7,
    "mpnet": 5,
    "lfm2": 9,
    "deberta-v2": 5,
    "two poolings": 5,
}


def waits_of_launch(
    backend: Backend, batch: Sequence[Ids], readout: Readout, *, keep_prefix: bool = False
) -> list[str]:
    """What launch() waits for once the backend is warm. rows() waits once, for its event."""
    items = [Item(ids, readout) for ids in batch]
    backend.launch(items, keep_prefix=keep_prefix).rows()
    with GPU.counting() as counts:
        pending = backend.launch(items, keep_prefix=keep_prefix)
    with GPU.counting() as later:
        rows = pending.rows()
    assert len(rows) == len(batch)
    assert [wait.split(" at ")[0] for wait in later.waits] == ["Event.synchronize()"]
    return counts.waits


@pytest.mark.parametrize("case", CASES)
def test_launch_does_not_wait(tmp_path: Path, case: str) -> None:
    make, readout, name, layout = CASES[case]
    backend = make(tmp_path)

    waits = waits_of_launch(backend, BATCH, readout)

    assert (backend.info.backend, backend.info.layout) == (name, layout)
    assert len(waits) == WAITS.get(case, 0), "\n".join(waits)


def test_launch_does_not_wait_while_a_prefix_is_kept(tmp_path: Path) -> None:
    backend = packed()(tmp_path)
    head = np.arange(40, dtype=np.int32)

    assert waits_of_launch(backend, [np.concatenate([head, ids]) for ids in BATCH], VECTOR, keep_prefix=True) == []


@pytest.mark.parametrize(("capability", "waits"), [((9, 0), 0), ((8, 0), 2)])
def test_experts_wait_on_older_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], waits: int
) -> None:
    monkeypatch.setattr(GPU, "capability", capability)
    backend = network("glm4_moe")(tmp_path)

    assert len(waits_of_launch(backend, BATCH, VECTOR)) == waits


def test_texts_of_one_length_need_no_mask_that_is_waited_for(tmp_path: Path) -> None:
    make, readout, _, _ = CASES["bert, padded"]
    batch = [np.arange(12, dtype=np.int32) + number for number in range(4)]

    assert waits_of_launch(make(tmp_path), batch, readout) == []


@pytest.mark.parametrize(("capability", "told"), [((9, 0), False), ((8, 0), True)])
def test_experts_that_wait_are_told_at_load(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capability: tuple[int, int],
    told: bool,
) -> None:
    monkeypatch.setattr(GPU, "capability", capability)

    network("glm4_moe")(tmp_path)

    assert ("wait for this GPU in every layer" in caplog.text) == told
