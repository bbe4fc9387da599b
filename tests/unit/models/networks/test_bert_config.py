"""Which checkpoints our BERT takes: all that it computes exactly, and the others go to transformers."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from models import ModelError
from models.checkpoint.folder import Checkpoint
from models.networks.bert_config import read_bert_config, why_not_own_bert
from tests.support.networks.tiny_networks import CONFIGS, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path, CONFIGS["bert"]())
    return tmp_path


def test_a_plain_bert_is_taken(folder: Path) -> None:
    set_config(folder, gradient_checkpointing=False, position_embedding_type="absolute", _name_or_path="x")

    assert why_not_own_bert(Checkpoint(folder)) is None


@pytest.mark.parametrize(
    "entry",
    [
        {"hidden_act": "gelu_new"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"use_alibi": True},
        {"hidden_size": 30},
        {"num_hidden_layers": None},
        {"model_type": "roberta"},
    ],
)
def test_what_it_would_compute_otherwise_is_left_to_transformers(folder: Path, entry: dict[str, Any]) -> None:
    set_config(folder, **entry)

    assert why_not_own_bert(Checkpoint(folder)) is not None


def test_a_missing_tensor_is_named(folder: Path) -> None:
    change_tensors(folder, without="encoder.layer.1.output.dense.weight")

    with pytest.raises(ModelError, match=r"needs a tensor that the weights lack: encoder\.layer\.1\.output\.dense"):
        read_bert_config(Checkpoint(folder))


def test_an_unknown_tensor_is_named(folder: Path) -> None:
    change_tensors(folder, added="encoder.layer.0.attention.self.distance_embedding.weight")

    with pytest.raises(ModelError, match=r"BERT does not have by config\.json: encoder\.layer\.0\..*distance"):
        read_bert_config(Checkpoint(folder))


def set_config(folder: Path, **entries: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | entries), "utf-8")


def change_tensors(folder: Path, *, without: str | None = None, added: str | None = None) -> None:
    tensors = load_file(folder / "model.safetensors")
    if without:
        del tensors[without]
    if added:
        tensors[added] = tensors["embeddings.LayerNorm.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
