"""No backend refuses a folder for what transformers records in config.json, and no number depends on it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import Backend, Item, LoadOptions, Readout, load_backend, load_preprocessor
from models.backends.huggingface.config import library_config
from models.checkpoint.folder import Checkpoint
from models.networks.bookkeeping import BOOKKEEPING, SWITCHED_OFF
from tests.support.checkpoints.classifiers import cross_encoder
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.tiny_networks import texts
from tests.support.zoo.build import build as build_recipe
from tests.support.zoo.catalogue import ZOO
from tests.support.zoo.recipe import published

# Entries that need a value of their own to be worth a test; the others get 7.
VALUES: dict[str, Any] = {
    **dict.fromkeys(("_attn_implementation", "attn_implementation"), "flash_attention_2"),
    **dict.fromkeys(("_experts_implementation", "experts_implementation"), "grouped_mm"),
    **dict.fromkeys(("return_dict", "use_cache"), False),
    **dict.fromkeys(("torchscript", "output_attentions", "output_hidden_states", "gradient_checkpointing"), True),
    **dict.fromkeys(("_name_or_path", "_commit_hash", "tokenizer_class", "name", "transformers_version"), "text"),
    "task_specific_params": {"some": "thing"},
    "sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid",
    **dict.fromkeys(("attention_dropout", "attention_probs_dropout_prob", "hidden_dropout_prob"), 0.5),
    **dict.fromkeys(("classifier_dropout", "initializer_range"), 0.5),
}
# They are about a class, its labels or the stored dtype, and each folder has its own.
KEPT = {
    *("architectures", "auto_map", "dtype", "torch_dtype", "id2label", "label2id", "num_labels", "problem_type"),
    "sentence_transformers",
}
RECORDED = {key: VALUES.get(key, 7) for key in sorted(BOOKKEEPING - KEPT)} | {
    key: values[0] for key, values in SWITCHED_OFF.items()
}


def vectors(backend: Backend, rows: int) -> NDArray[np.float32]:
    return np.stack(backend.launch([Item(ids % rows, Readout("vector")) for ids in texts()[:4]]).rows())


def bert(folder: Path) -> Path:
    return build_recipe(next(recipe for recipe in ZOO if recipe.name == "BAAI/bge-small-en-v1.5"), folder)


def record(folder: Path, backend: str) -> None:
    file = folder / "config.json"
    # sentence-transformers refuses this one beside a choice of attention.
    without = {"output_attentions"} if backend == "sentence_transformers" else set()
    entries = {key: value for key, value in RECORDED.items() if key not in without}
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | entries), "utf-8")


@pytest.mark.parametrize(
    ("make", "backend", "chosen"),
    [
        (build, "auto", "packed"),
        (build, "transformers", "transformers"),
        (build, "sentence_transformers", "sentence_transformers"),
        (bert, "auto", "encoder"),
        (bert, "transformers", "transformers"),
        (bert, "transformers-padded", "transformers"),
        (bert, "sentence_transformers", "sentence_transformers"),
        (lambda folder: cross_encoder(folder, "Bert"), "auto", "transformers"),
    ],
)
def test_what_the_library_records_changes_neither_the_backend_nor_a_vector(
    tmp_path: Path, make: Any, backend: str, chosen: str
) -> None:
    folder = make(tmp_path / "m")
    options = LoadOptions(dtype="float32", device="cpu", backend=backend)
    info = load_preprocessor(folder, options).info
    plain = vectors(load_backend(folder, info, options), info.table_rows)

    record(folder, backend)
    recorded = load_backend(folder, load_preprocessor(folder, options).info, options)

    assert recorded.info.backend == chosen
    np.testing.assert_array_equal(vectors(recorded, info.table_rows), plain)


def test_nomics_own_form_may_hold_records_too(tmp_path: Path) -> None:
    entries = published("nomic-embed-text-v1.5")
    records = {key: value for key, value in RECORDED.items() if key not in entries}
    (tmp_path / "config.json").write_text(json.dumps({**entries, **records}), "utf-8")

    assert library_config(Checkpoint(tmp_path)).hidden_size == entries["n_embd"]
