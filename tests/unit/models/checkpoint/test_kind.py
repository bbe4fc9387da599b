"""Classification rerankers: which are supported, and that a folded Qwen3 reranker scores as it did before."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from models import LoadOptions, ModelError, load_backend, load_preprocessor
from models.text.qwen3_prompt import DEFAULT_INSTRUCTION, FRAME_PREFIX, FRAME_SUFFIX, Qwen3RerankPrompt
from tests.support.checkpoints.classifiers import cross_encoder, fold_head
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.scores import PAIRS, library_scores, scores
from tests.unit.models.test_loading import change

# Published rerankers' own settings: mxbai-rerank-v1 (DeBERTa-v3), gte-reranker-modernbert.
DEBERTA = {
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
    "type_vocab_size": 0,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_buckets": 16,
}
MODERN = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}


@pytest.mark.parametrize("backend", ["packed", "transformers"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_folded_head_scores_as_the_original(tmp_path: Path, backend: str, tied: bool) -> None:
    original = build(tmp_path / "reranker", "reranker", tie_word_embeddings=tied)
    folded = fold_head(original, tmp_path / "seq-cls")

    ours = scores(folded, backend=backend)

    assert np.abs(ours - scores(original, backend="packed")).max() <= 1e-5
    assert ours.std() > 0.2


def test_a_folded_head_scores_as_sentence_transformers_cross_encoder(tmp_path: Path) -> None:
    folded = fold_head(build(tmp_path / "reranker", "reranker"), tmp_path / "seq-cls")
    framed = [
        (
            f"{FRAME_PREFIX}<Instruct>: {DEFAULT_INSTRUCTION}\n<Query>: {query}\n",
            f"<Document>: {document}{FRAME_SUFFIX}",
        )
        for query, document in PAIRS
    ]

    expected = CrossEncoder(str(folded), device="cpu", model_kwargs={"dtype": torch.float32}).predict(framed)

    assert np.abs(scores(folded, backend="packed") - expected).max() <= 1e-5


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("config.json", {"sentence_transformers": {"version": "6.2.0"}}),
        ("config_sentence_transformers.json", {"model_type": "CrossEncoder"}),
    ],
)
def test_a_classifier_that_sentence_transformers_trained_is_shown_plain_pairs(
    tmp_path: Path, name: str, record: dict[str, object]
) -> None:
    folded = fold_head(build(tmp_path / "reranker", "reranker"), tmp_path / "support-search")
    held = json.loads((folded / name).read_text("utf-8")) if (folded / name).exists() else {}
    (folded / name).write_text(json.dumps(held | record), "utf-8")
    change(folded, "config.json", _name_or_path="Qwen/Qwen3-0.6B")

    assert np.abs(scores(folded, backend="packed") - library_scores(folded)).max() <= 1e-5
    framed = load_preprocessor(folded, LoadOptions(rerank_frame="qwen3")).rerank
    assert isinstance(framed, Qwen3RerankPrompt)


def test_a_folded_head_runs_on_our_own_network_and_has_no_token_logits(tmp_path: Path) -> None:
    info = load_preprocessor(fold_head(build(tmp_path / "reranker", "reranker"), tmp_path / "seq-cls")).info

    assert (info.kind, info.classifier, info.head_rows, info.no_yes) == ("reranker", True, 0, None)
    assert load_backend(Path(info.path), info).info.backend == "packed"


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("Bert", {}),
        ("XLMRoberta", {}),
        ("DebertaV2", DEBERTA),
        ("Qwen2", {}),
        ("ModernBert", MODERN),
        ("ModernBert", MODERN | {"classifier_pooling": "mean"}),
    ],
)
def test_cross_encoders_score_as_the_library_does(tmp_path: Path, name: str, config: dict[str, Any], raw: bool) -> None:
    folder = cross_encoder(tmp_path, name, **config)

    ours = scores(folder, raw=raw)

    assert np.abs(ours - library_scores(folder, raw=raw)).max() <= (1e-4 if raw else 1e-5)
    assert ours.std() > 0.02


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id2label": {"0": "no", "1": "yes"}}, "must have 1 label; it has 2"),
        ({"id2label": None}, "must have 1 label; it has 2"),
        ({"sentence_transformers": {"activation_fn": "torch.nn.Tanh"}}, "activation that is not supported: Tanh"),
        ({"sbert_ce_default_activation_function": "torch.nn.Tanh"}, "activation that is not supported: Tanh"),
    ],
)
def test_a_head_that_gives_no_relevance_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    folder = cross_encoder(tmp_path, "Bert")
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | config), "utf-8")

    with pytest.raises(ModelError, match=message):
        load_preprocessor(folder)


def test_a_prompt_before_each_pair_is_refused(tmp_path: Path) -> None:
    folder = cross_encoder(tmp_path, "Bert")
    prompts = {"prompts": {"query": "Find: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), "utf-8")

    with pytest.raises(ModelError, match=r"puts a prompt before each query, which is not supported: .Find: "):
        load_preprocessor(folder)


@pytest.mark.parametrize("activation", ["torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"])
@pytest.mark.parametrize("key", ["sbert_ce_default_activation_function", "sentence_transformers"])
def test_both_activations_of_published_rerankers_are_taken_and_scores_are_probabilities(
    tmp_path: Path, key: str, activation: str
) -> None:
    plain = scores(cross_encoder(tmp_path / "plain", "Bert"))
    entry = activation if key.startswith("sbert") else {"activation_fn": activation, "version": "4.1.0"}
    folder = change(cross_encoder(tmp_path / "m", "Bert"), "config.json", **{key: entry})

    assert np.array_equal(scores(folder), plain)
    assert ((plain > 0) & (plain < 1)).all()
