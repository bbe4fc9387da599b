"""The transformers backend: padded groups equal one text at a time; a checkpoint is supported in full or refused."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import Backend, Item, LoadOptions, ModelError, NonFinite, Readout, load_backend, load_preprocessor
from models.backends.huggingface.layouts import similar_lengths
from models.backends.huggingface.transformers_backend import TransformersBackend
from models.interface import Ids, Pooling
from models.layers.pooler import pool_texts
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.one_at_a_time import Matrix, cosines, reference
from tests.support.networks.tiny_networks import CONFIGS, alone, save, texts

VECTOR = Readout("vector")
FLOAT32 = LoadOptions(dtype="float32", backend="transformers")
HALF = LoadOptions(dtype="bfloat16", backend="transformers")


def vectors(backend: Backend, items: Sequence[Ids]) -> Matrix:
    return np.stack(backend.launch([Item(ids, VECTOR) for ids in items]).rows())


def set_config(folder: Path, **entries: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def test_qwen3_equals_one_at_a_time(tmp_path: Path) -> None:
    folder = build(tmp_path, "llm")
    backend = load_backend(folder, load_preprocessor(folder).info, FLOAT32)

    assert cosines(vectors(backend, texts()), reference(folder, texts())[0]).min() >= 0.999999


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_bert_pooled_in_each_way_equals_one_at_a_time(tmp_path: Path, pooling: Pooling) -> None:
    info = save(tmp_path, CONFIGS["bert"](), pooling)

    ours = vectors(load_backend(tmp_path, info, LoadOptions(dtype="float32")), texts())

    assert cosines(ours, alone(tmp_path, pooling)).min() >= 0.999999


def test_scores_and_logits_equal_those_of_the_packed_backend(tmp_path: Path) -> None:
    folder = build(tmp_path, "reranker", tie_word_embeddings=False)
    info = load_preprocessor(folder).info
    readouts = (VECTOR, Readout("logits", (4, 9)), Readout("score"), Readout("logits"))
    items = [Item(ids, readout) for ids in texts() for readout in readouts]

    library = load_backend(folder, info, FLOAT32).launch(items).rows()

    packed = load_backend(folder, info, LoadOptions(dtype="float32", backend="packed")).launch(items).rows()
    assert max(np.abs(a - b).max() for a, b in zip(library, packed, strict=True)) < 1e-4


def test_overflow_in_bfloat16_is_computed_again_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path, "llm", dtype=torch.bfloat16)
    backend = load_backend(folder, load_preprocessor(folder).info, HALF)
    assert isinstance(backend, TransformersBackend)
    part = backend._network.module.layers[1].mlp  # type: ignore[union-attr, index]
    forward = part.forward

    def overflowing(hidden: torch.Tensor) -> torch.Tensor:
        return forward(hidden) if hidden.dtype == torch.float32 else torch.full_like(hidden, torch.inf)

    monkeypatch.setattr(part, "forward", overflowing)

    ours = vectors(backend, texts())

    assert cosines(ours, reference(folder, texts())[0]).min() >= 0.999999
    assert {weight.dtype for weight in backend._network.module.parameters()} == {torch.bfloat16}


def test_bert_is_computed_again_in_float32_too(tmp_path: Path) -> None:
    info = save(tmp_path, CONFIGS["bert"](), "mean")
    backend = load_backend(tmp_path, info, HALF)
    assert isinstance(backend, TransformersBackend)
    widened = torch.stack([backend._rerun(Item(ids, VECTOR))[0] for ids in texts()]).numpy()

    assert cosines(widened, vectors(backend, texts())).min() >= 0.999
    assert {weight.dtype for weight in backend._network.module.parameters()} == {torch.bfloat16}


def test_nan_is_reported_for_its_rows(tmp_path: Path) -> None:
    folder = build(tmp_path, "llm")
    backend = load_backend(folder, load_preprocessor(folder).info, FLOAT32)
    assert isinstance(backend, TransformersBackend)
    with torch.no_grad():
        backend._network.module.embed_tokens.weight[299] = torch.nan  # type: ignore[union-attr, operator]

    with pytest.raises(NonFinite) as caught:
        vectors(backend, [texts()[2], np.array([3, 299], dtype=np.int32), texts()[5]])

    assert caught.value.indexes == (1,)


@pytest.mark.parametrize("options", [FLOAT32, HALF])
def test_the_batch_mates_of_a_text_with_nan_get_their_rows(tmp_path: Path, options: LoadOptions) -> None:
    info = save(tmp_path, CONFIGS["bert"](), "mean")
    backend = load_backend(tmp_path, info, options)
    assert isinstance(backend, TransformersBackend)
    good, bad = (np.array(ids, dtype=np.int32) for ids in ([1, 5], [299, 2]))
    table = cast("Any", backend._network.module).get_input_embeddings().weight
    with torch.no_grad():
        table[299] = torch.nan

    with pytest.raises(NonFinite) as caught:
        backend.launch([Item(good, VECTOR), Item(bad, VECTOR), Item(good, VECTOR)]).rows()

    assert caught.value.indexes == (1,)
    assert np.isfinite(caught.value.rows[0]).all()


def test_an_entry_of_config_json_that_the_library_ignores_is_refused(tmp_path: Path) -> None:
    info = save(tmp_path, CONFIGS["bert"](), "mean")
    set_config(tmp_path, rotary_emb_fraction=0.5)

    with pytest.raises(ModelError, match=r"unknown to Bert, .*: rotary_emb_fraction"):
        load_backend(tmp_path, info)


def test_entries_that_change_nothing_are_taken(tmp_path: Path) -> None:
    info = save(tmp_path, CONFIGS["bert"](), "mean")
    set_config(tmp_path, gradient_checkpointing=False, position_embedding_type="absolute", _name_or_path="x")

    assert load_backend(tmp_path, info, FLOAT32).info.backend == "transformers"


def test_missing_weights_are_named(tmp_path: Path) -> None:
    info = save(tmp_path, CONFIGS["bert"](), "mean")
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match=r"lacks weights of BertModel.*encoder\.layer\.1\.output\.dense\.weight"):
        load_backend(tmp_path, info)


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    info = save(tmp_path, CONFIGS["bert"](), "mean")
    set_config(tmp_path, intermediate_size=50)

    with pytest.raises(ModelError, match=r"have another shape: encoder\.layer\.0\.intermediate\.dense\.bias"):
        load_backend(tmp_path, info, FLOAT32)


def test_an_unknown_architecture_is_refused_in_one_line(tmp_path: Path) -> None:
    info = save(tmp_path, CONFIGS["bert"](), "mean")
    set_config(tmp_path, model_type="bert_of_next_year", architectures=["X"])

    with pytest.raises(ModelError, match="does not have the model_type 'bert_of_next_year'") as caught:
        load_backend(tmp_path, info)
    assert "\n" not in str(caught.value)


def test_groups_waste_little_and_stay_under_their_tokens() -> None:
    groups = similar_lengths([10, 100, 11, 101, 9, 300], 250)

    assert groups == [[4, 0], [2], [1, 3], [5]]


@pytest.mark.parametrize(
    ("pooling", "wanted"), [("cls", [1.0, 4.0]), ("lasttoken", [2.0, 6.0]), ("max", [2.0, 6.0]), ("mean", [1.5, 5.0])]
)
def test_pooling_stops_at_the_length(pooling: Pooling, wanted: list[float]) -> None:
    states = torch.tensor([[1.0], [2.0], [4.0], [5.0], [6.0]])

    assert pool_texts(states, [2, 3], pooling)[:, 0].tolist() == wanted
