"""`hearth check` agrees with a sound model and finds an unsound one."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from safetensors.torch import load_file, save_file

from models import LoadOptions, ModelInfo, check_model, load_backend, load_preprocessor
from models.verify import reference
from models.verify.check import CheckReport, _with_words
from models.verify.offline import OfflineModel
from tests.support.checkpoints.causal_rerankers import TASKED, save_causal
from tests.support.checkpoints.classifiers import cross_encoder, fold_head
from tests.support.checkpoints.qwen3 import build
from tests.support.checkpoints.vocabulary import MERGES, write_tokenizer
from tests.support.zoo.build import build as build_recipe
from tests.support.zoo.catalogue import ZOO


def check(folder: Path, dtype: Any = "float32") -> CheckReport:
    return check_model(folder, LoadOptions(dtype=dtype, device="cpu"), say=lambda _: None)


def failed(report: CheckReport) -> set[str]:
    return {finding.name for finding in report.findings if not finding.passed}


def values(report: CheckReport) -> dict[str, float]:
    return {finding.name: finding.value for finding in report.findings}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.verify.check.SPEED_SECONDS", 0.01)


@pytest.mark.parametrize("kind", ["embedder", "reranker", "llm"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sound_model_agrees_with_the_reference(tmp_path: Path, kind: Any, dtype: str) -> None:
    report = check(build(tmp_path / "m", kind), dtype)

    assert failed(report) == set()
    assert report.backend.backend == "packed"


@pytest.mark.parametrize("name", ["openai/gpt-oss-20b", "zai-org/GLM-4.5"])
def test_so_do_models_of_the_library(tmp_path: Path, name: str) -> None:
    report = check(build_recipe(next(recipe for recipe in ZOO if recipe.name == name), tmp_path))

    assert failed(report) == set()
    assert report.backend.backend == "transformers"


def test_a_token_that_was_added_is_in_a_text_of_the_check(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", vocab_size=300)
    file = str(folder / "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(file)
    tokenizer.add_tokens([tokenizers.AddedToken("remdesivir", normalized=False)])
    tokenizer.save(file)

    assert _with_words(OfflineModel.load(folder, LoadOptions(device="cpu"))) == [
        "What is remdesivir, and where is remdesivir?"
    ]
    assert failed(check(folder)) == set()


def test_so_does_our_own_bert(tmp_path: Path) -> None:
    report = check(build_recipe(next(recipe for recipe in ZOO if recipe.name == "BAAI/bge-small-en-v1.5"), tmp_path))

    assert failed(report) == set()
    assert report.backend.backend == "encoder"


@pytest.mark.parametrize("name", ["Bert", "XLMRoberta"])
def test_so_do_classification_rerankers(tmp_path: Path, name: str) -> None:
    report = check(cross_encoder(tmp_path / "m", name))

    assert failed(report) == set()
    assert report.info.classifier


def test_so_does_a_folded_head(tmp_path: Path) -> None:
    report = check(fold_head(build(tmp_path / "r", "reranker"), tmp_path / "m"))

    assert failed(report) == set()
    assert values(report)["score_spread"] > 0.1


def test_so_does_a_reranker_whose_vocabulary_splits_two_newlines(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", "reranker")
    write_tokenizer(folder, terminator=False, merges=[merge for merge in MERGES if merge != ("Ċ", "Ċ")])

    assert failed(check(folder)) == set()


def test_a_checkpoint_that_the_reference_cannot_load_does_not_pass(tmp_path: Path) -> None:
    # Published in words that sentence-transformers does not read, at a size that is not its class's default.
    recipe = next(recipe for recipe in ZOO if recipe.name == "nomic-ai/nomic-embed-text-v1.5")

    report = check(build_recipe(recipe, tmp_path))

    assert failed(report) == {"worst_cosine"}
    assert "it cannot load this checkpoint: RuntimeError" in report.findings[0].found


def test_what_was_measured_has_numbers(tmp_path: Path) -> None:
    found = values(check(build(tmp_path / "m")))

    assert found["worst_cosine"] >= 0.999999
    assert found["tokens_per_second"] > 100
    assert 0 < found["load_seconds"] < 60
    assert found["resident_bytes"] > 10_000_000 > found["weights_bytes"] > 100_000


def test_texts_longer_than_the_model_takes_are_cut_for_both(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", max_position_embeddings=40)

    assert failed(check(folder)) == set()


def test_a_reference_without_the_terminator_is_found_to_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = OfflineModel.vectors
    monkeypatch.setattr(
        OfflineModel, "vectors", lambda self, texts, batch=8: plain(self, [f"{text} " for text in texts], batch)
    )

    assert failed(check(build(tmp_path / "m"))) == {"worst_cosine"}


def test_a_suffix_one_newline_short_is_found_to_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n"
    monkeypatch.setattr("models.verify.reference.FRAME_SUFFIX", suffix)

    assert failed(check(build(tmp_path / "m", "reranker"))) == {"worst_score"}


def scale_query_norm(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.q_norm.weight"] *= 1.1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def forget_instruction(self: OfflineModel, query: str, documents: Any) -> list[Any]:
    prompt = self.preprocessor.rerank
    assert prompt is not None
    head = prompt.head("", query)
    return [prompt.join(head, document) for document in prompt.documents(documents)]


def test_a_steep_reranker_may_err_in_bfloat16_as_the_library_does(tmp_path: Path) -> None:
    report = check(build(tmp_path / "m", "reranker", seed=5, log_odds_std=4.0), "bfloat16")

    assert failed(report) == set()
    assert 0.02 < values(report)["worst_score"] < 3 * values(report)["library_score"]


def test_but_not_when_it_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "m", "reranker", seed=5, log_odds_std=4.0)
    monkeypatch.setattr(OfflineModel, "pairs", forget_instruction)

    assert failed(check(folder, "bfloat16")) == {"worst_score"}


def test_nor_when_its_weights_are_a_little_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "m", "reranker", seed=5, log_odds_std=4.0)
    twin = shutil.copytree(folder, tmp_path / "faulty-rerank")
    scale_query_norm(twin)
    monkeypatch.setattr(OfflineModel, "load", partial(load_other, twin))

    assert failed(check(folder, "bfloat16")) == {"worst_score"}


def load_other(folder: Path, path: Path, options: LoadOptions) -> OfflineModel:
    """The weights of `folder` under the name of `path`, with which the reference is loaded."""
    info = load_preprocessor(path, options)
    return OfflineModel(info, load_backend(folder, info.info, options))


def test_a_reference_that_cannot_run_in_the_dtype_widens_no_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = reference.score_reference

    def float32_alone(info: ModelInfo, dtype: str = "float32") -> Any:
        if dtype != "float32":
            raise reference.NoReference("no kernel for it")
        return loader(info)

    monkeypatch.setattr(reference, "score_reference", float32_alone)

    report = check(build(tmp_path / "m", "reranker", seed=5, log_odds_std=4.0), "bfloat16")

    assert "worst_score" in failed(report)
    assert "no kernel for it" in next(row.found for row in report.findings if row.name == "library_score")


def test_answers_that_depend_on_the_batch_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = OfflineModel.rows

    def leaking(self: OfflineModel, items: Any, batch: int = 8) -> list[Any]:
        rows = plain(self, items, batch)
        return rows if batch == 1 else [row + 0.01 * np.roll(row, 1) for row in rows]

    monkeypatch.setattr(OfflineModel, "rows", leaking)

    assert "worst_cosine_alone" in failed(check(build(tmp_path / "m")))


def test_a_report_passes_only_when_all_of_it_does(tmp_path: Path) -> None:
    report = check(build(tmp_path / "m"))
    one, *others = report.findings

    assert report.passed
    assert not replace(report, findings=(replace(one, passed=False), *others)).passed


def test_a_reranker_with_a_prompt_of_its_own_agrees_with_the_library(tmp_path: Path) -> None:
    assert check(save_causal(tmp_path / "m", TASKED)).passed
