"""After a load no file of the model is mapped: what happens to its files changes no answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer import modules as library

from models import Dtype, Item, LoadOptions, Readout, load_backend, load_preprocessor
from models.loading import BACKENDS
from tests.support.checkpoints.classifiers import cross_encoder
from tests.support.checkpoints.encoders import WIDTH, save_encoder
from tests.support.checkpoints.qwen3 import build

MAPS = Path("/proc/self/maps")
FLOAT32, BFLOAT16 = torch.float32, torch.bfloat16

Build = Callable[[Path], Path]


def qwen3(stored: torch.dtype, **config: Any) -> Build:
    return lambda folder: build(folder, "reranker", dtype=stored, **config)


def projected(folder: Path) -> Path:
    return save_encoder(folder, [library.Pooling(WIDTH, "mean"), library.Dense(WIDTH, 20)])


def scored(folder: Path) -> Path:
    return cross_encoder(folder, "Bert")


CASES: dict[str, tuple[str, Build]] = {
    "packed": ("packed", qwen3(FLOAT32)),
    "packed, bfloat16 stored": ("packed", qwen3(BFLOAT16)),
    "packed, untied head": ("packed", qwen3(FLOAT32, tie_word_embeddings=False)),
    "packed, several files": ("packed", qwen3(FLOAT32, shards=3)),
    "encoder": ("encoder", projected),
    "transformers": ("transformers", qwen3(FLOAT32)),
    "transformers, bfloat16 stored": ("transformers", qwen3(BFLOAT16)),
    "transformers, untied head": ("transformers", qwen3(BFLOAT16, tie_word_embeddings=False)),
    "transformers, several files": ("transformers", qwen3(FLOAT32, shards=3)),
    "transformers, classifier": ("transformers", scored),
    "transformers, projection": ("transformers", projected),
    "transformers-padded": ("transformers-padded", projected),
    "sentence_transformers": ("sentence_transformers", projected),
    "fake": ("fake", projected),
}


def test_every_backend_has_a_case() -> None:
    assert {backend for backend, _ in CASES.values()} == set(BACKENDS)


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux tells which files are mapped")
@pytest.mark.parametrize("dtype", sorted(set(get_args(Dtype)) & {"float32", "bfloat16"}))
@pytest.mark.parametrize("case", CASES)
def test_what_happens_to_the_files_of_a_loaded_model_changes_no_answer(tmp_path: Path, case: str, dtype: Dtype) -> None:
    backend, build_folder = CASES[case]
    folder = build_folder(tmp_path / "model")
    info = load_preprocessor(folder).info
    readout = Readout("vector") if info.kind == "embedder" else Readout("score")
    loaded = load_backend(folder, info, LoadOptions(dtype=dtype, backend=backend))
    items = [Item(np.array(ids, np.int32), readout) for ids in ([5, 9, 17, 6], [7, 30])]
    before = np.stack(loaded.launch(items).rows())

    assert [line for line in MAPS.read_text().splitlines() if f"{folder}/" in line] == []
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("r+b") as content:  # in place, as cp and rsync --inplace do
                content.write(b"\x3f" * file.stat().st_size)
    overwritten = np.stack(loaded.launch(items).rows())
    for file in folder.rglob("*.safetensors"):
        file.write_bytes(b"")
    truncated = np.stack(loaded.launch(items).rows())

    np.testing.assert_array_equal(overwritten, before)
    np.testing.assert_array_equal(truncated, before)
