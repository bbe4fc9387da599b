"""Causal cross-encoders as sentence-transformers saves them: their own ids count, and another prompt is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from models import Item, LoadOptions, ModelError, Readout, finish_scores, load_backend, load_text
from models.prompts import INSTRUCTION, PREFIX, SUFFIX
from tests.calibration import DOCUMENTS, QUERIES
from tests.checkpoints import build
from tests.models.test_loading import change

PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]
# Jinja drops the last newline of a template: three, so that two are left (sentence-transformers' own does the same).
TEMPLATE = (
    PREFIX
    + f"<Instruct>: {INSTRUCTION}\n"
    + "<Query>: {{ messages[0]['content'] }}\n<Document>: {{ messages[1]['content'] }}"
    + SUFFIX
    + "\n"
)


def write_modules(folder: Path, **config: Any) -> Path:
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_LogitScore",
            "type": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
        },
    ]
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    (folder / "1_LogitScore").mkdir()
    (folder / "1_LogitScore" / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


def scores(folder: Path, **how: Any) -> Any:
    text = load_text(folder)
    prompt = text.rerank
    assert prompt
    items = [
        Item(prompt.join(prompt.head(INSTRUCTION, query), prompt.documents([document])[0]), Readout("score"))
        for query, document in PAIRS
    ]
    return finish_scores(load_backend(folder, text.info, LoadOptions(dtype="float32")).launch(items).rows(), **how)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A reranker as CrossEncoder saves it, named in a way that says nothing."""
    folder = build(tmp_path / "reranker", "reranker").rename(tmp_path / "m")
    change(folder, "config.json", _name_or_path="")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    info = load_text(folder, LoadOptions(kind="reranker")).info
    assert info.no_yes
    return write_modules(folder, false_token_id=info.no_yes[0], true_token_id=info.no_yes[1])


def test_a_saved_cross_encoder_scores_as_the_library(saved: Path) -> None:
    library = CrossEncoder(str(saved), device="cpu", model_kwargs={"dtype": torch.float32})

    theirs = library.predict(PAIRS, activation_fn=torch.nn.Sigmoid(), batch_size=1)

    assert load_text(saved).info.kind_reason == "modules.json has a cross-encoder module"
    assert np.abs(scores(saved) - theirs).max() <= 1e-5


def test_the_ids_of_its_own_files_count(saved: Path) -> None:
    usual = scores(saved, raw=True)
    file = saved / "1_LogitScore" / "config.json"
    ids = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({"true_token_id": ids["false_token_id"], "false_token_id": ids["true_token_id"]}))

    assert np.allclose(scores(saved, raw=True), -usual, atol=1e-4)


def test_the_task_of_its_own_files_is_the_default(saved: Path) -> None:
    assert load_text(saved).instruction == INSTRUCTION
    prompts = {"prompts": {"faq": "Find the answer"}, "default_prompt_name": "faq", "model_type": "CrossEncoder"}
    (saved / "config_sentence_transformers.json").write_text(json.dumps(prompts), "utf-8")

    assert load_text(saved).instruction == "Find the answer"


def test_a_score_by_one_token_is_refused(saved: Path) -> None:
    (saved / "1_LogitScore" / "config.json").write_text(json.dumps({"true_token_id": 5, "false_token_id": None}))

    with pytest.raises(ModelError, match="scores by one token alone"):
        load_text(saved)


def test_a_prompt_of_its_own_is_refused(saved: Path) -> None:
    (saved / "chat_template.jinja").write_text("query: {{ query }} document: {{ document }} Relevance:")

    with pytest.raises(ModelError, match="a reranker with a prompt of its own"):
        load_text(saved)


def test_a_network_of_another_family_is_refused(saved: Path) -> None:
    change(saved, "config.json", model_type="qwen2")

    with pytest.raises(ModelError, match="a reranker with a prompt of its own"):
        load_text(saved)


def test_a_template_for_chats_says_nothing_of_reranking(saved: Path) -> None:
    (saved / "chat_template.jinja").write_text("{% for message in messages %}{{ message.content }}{% endfor %}")

    assert load_text(saved).info.kind == "reranker"
