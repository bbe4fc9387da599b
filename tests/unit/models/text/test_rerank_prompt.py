"""Causal cross-encoders as sentence-transformers saves them: the ids and the task of their own files count."""

import json
from pathlib import Path

import numpy as np
import pytest

from models import ModelError, load_preprocessor
from models.text.qwen3_prompt import DEFAULT_INSTRUCTION
from tests.support.checkpoints.causal_rerankers import QWEN3, TASKED, save_causal
from tests.support.networks.scores import library_scores, scores


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A reranker as CrossEncoder saves it."""
    return save_causal(tmp_path / "m")


@pytest.mark.parametrize("task", [None, "Find planets"])
@pytest.mark.parametrize("template", [QWEN3, TASKED])
def test_a_saved_cross_encoder_scores_as_the_library(saved: Path, template: str, task: str | None) -> None:
    (saved / "chat_template.jinja").write_text(template, "utf-8")

    ours = scores(saved, task=task)

    assert load_preprocessor(saved).info.kind_reason == "modules.json has a cross-encoder module"
    assert np.abs(ours - library_scores(saved, task=task)).max() <= 1e-5
    assert ours.std() > 0.05


def test_the_ids_of_its_own_files_count(saved: Path) -> None:
    usual = scores(saved, raw=True)
    file = saved / "1_LogitScore" / "config.json"
    ids = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({"true_token_id": ids["false_token_id"], "false_token_id": ids["true_token_id"]}))

    assert np.allclose(scores(saved, raw=True), -usual, atol=1e-4)


def test_the_task_of_its_own_files_is_the_default(saved: Path) -> None:
    assert load_preprocessor(saved).instruction == DEFAULT_INSTRUCTION
    prompts = {"prompts": {"faq": "Find the answer"}, "default_prompt_name": "faq", "model_type": "CrossEncoder"}
    (saved / "config_sentence_transformers.json").write_text(json.dumps(prompts), "utf-8")

    assert load_preprocessor(saved).instruction == "Find the answer"


def test_a_score_by_one_token_is_refused(saved: Path) -> None:
    (saved / "1_LogitScore" / "config.json").write_text(json.dumps({"true_token_id": 5, "false_token_id": None}))

    with pytest.raises(ModelError, match="scores by one token only"):
        load_preprocessor(saved)
