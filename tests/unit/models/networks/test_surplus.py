"""Every backend refuses tensors that its network does not have, and takes those that published files keep unread."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models import LoadOptions, ModelError, load_backend, load_preprocessor
from models.networks.surplus import surplus
from tests.support.checkpoints.classifiers import cross_encoder
from tests.support.checkpoints.qwen3 import build
from tests.support.zoo.build import build as build_recipe
from tests.support.zoo.catalogue import ZOO

Tensors = dict[str, torch.Tensor]


def zoo(name: str) -> Callable[[Path], Path]:
    return lambda folder: build_recipe(next(recipe for recipe in ZOO if recipe.name == name), folder)


BERT, T5, MISTRAL = (
    zoo("BAAI/bge-small-en-v1.5"),
    zoo("sentence-transformers/gtr-t5-base"),
    zoo("intfloat/e5-mistral-7b-instruct"),
)
WAYS = [
    (build, "auto"),
    (build, "transformers"),
    (build, "transformers-padded"),
    (build, "sentence_transformers"),
    (BERT, "auto"),
    (BERT, "encoder"),
    (BERT, "transformers"),
    (BERT, "sentence_transformers"),
    (T5, "auto"),
    (MISTRAL, "auto"),
    (lambda folder: build(folder, "reranker"), "auto"),
    (lambda folder: build(folder, "reranker"), "transformers"),
    (lambda folder: cross_encoder(folder, "Bert"), "auto"),
    (lambda folder: cross_encoder(folder, "XLMRoberta"), "auto"),
]


def load(folder: Path, backend: str) -> None:
    options = LoadOptions(dtype="float32", device="cpu", backend=backend)
    load_backend(folder, load_preprocessor(folder, options).info, options)


def change_config(folder: Path, **entries: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | entries), "utf-8")


def change_tensors(folder: Path, change: Callable[[Tensors], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def fewer_layers(layers: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        names = [key for key in ("num_hidden_layers", "num_layers", "max_window_layers") if key in _config(folder)]
        change_config(folder, **dict.fromkeys(names, layers))

    return change


def _config(folder: Path) -> dict[str, object]:
    config: dict[str, object] = json.loads((folder / "config.json").read_text("utf-8"))
    return config


def one_more(name: str) -> Callable[[Path], None]:
    return lambda folder: change_tensors(folder, lambda tensors: tensors.update({name: torch.ones(4)}))


@pytest.mark.parametrize(("make", "backend"), WAYS)
@pytest.mark.parametrize(
    "change",
    [fewer_layers(1), fewer_layers(0), one_more("adapter.down.weight"), one_more("norm.extra.weight")],
    ids=["one layer", "no layer", "another part", "a part of a part"],
)
def test_tensors_that_no_one_reads_end_the_load_in_one_sentence(
    tmp_path: Path, make: Callable[[Path], Path], backend: str, change: Callable[[Path], None]
) -> None:
    folder = make(tmp_path / "rerank")
    change(folder)

    with pytest.raises(ModelError) as error:
        load(folder, backend)

    assert "\n" not in str(error.value)
    assert "does not have by config.json" in str(error.value) or "positive whole number" in str(error.value)


@pytest.mark.parametrize(("make", "backend"), WAYS)
def test_weights_of_whole_numbers_end_the_load(tmp_path: Path, make: Callable[[Path], Path], backend: str) -> None:
    folder = make(tmp_path / "rerank")
    name = next(
        name
        for name in load_file(folder / "model.safetensors")
        if name.endswith(("q_proj.weight", "q.weight", "query.weight"))
    )
    change_tensors(folder, lambda tensors: tensors.update({name: tensors[name].to(torch.int16)}))

    with pytest.raises(ModelError, match=r"not a floating-point number: .* is I16"):
        load(folder, backend)


# Heads and buffers as the published files of these architectures hold them.
LEFT_OVER: dict[str, tuple[str, ...]] = {
    "bert": (
        *("pooler.dense.weight", "embeddings.position_ids", "cls.predictions.bias", "cls.seq_relationship.weight"),
        *("cls.predictions.transform.dense.weight", "classifier.weight", "qa_outputs.bias"),
    ),
    "qwen3": ("score.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"),
    "mistral": ("lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"),
    "t5": ("decoder.block.0.layer.0.SelfAttention.q.weight", "lm_head.weight"),
}


@pytest.mark.parametrize(
    ("make", "backend", "family"),
    [
        (BERT, "auto", "bert"),
        (BERT, "transformers", "bert"),
        (BERT, "sentence_transformers", "bert"),
        (build, "auto", "qwen3"),
        (build, "transformers", "qwen3"),
        (build, "sentence_transformers", "qwen3"),
        (MISTRAL, "auto", "mistral"),
        (T5, "auto", "t5"),
    ],
)
def test_heads_and_buffers_that_published_files_keep_are_no_surplus(
    tmp_path: Path, make: Callable[[Path], Path], backend: str, family: str
) -> None:
    folder = make(tmp_path / "m")
    unread = {
        name: torch.ones(4, dtype=torch.int64 if name.endswith("ids") else torch.float32) for name in LEFT_OVER[family]
    }
    change_tensors(folder, lambda tensors: tensors.update({**unread, **tensors}))

    load(folder, backend)


def test_layers_that_predict_ahead_are_no_surplus() -> None:
    names = [f"model.layers.{number}.mlp.weight" for number in range(4)]

    assert surplus(names[2:], layers=2, layers_ahead=1) == names[3:]
