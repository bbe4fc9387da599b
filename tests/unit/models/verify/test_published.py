"""The model card's procedure finds what the reference cannot, since that reads the same files."""

import json
from pathlib import Path
from typing import Any

import pytest

from models import LoadOptions, check_model, load_preprocessor
from models.verify.check import CheckReport
from models.verify.published import PROCEDURES, find_procedure
from tests.support.checkpoints.qwen3 import build
from tests.support.zoo.build import build as build_recipe
from tests.support.zoo.catalogue import ZOO

PUBLISHED = "worst_cosine_published"


def check(folder: Path, dtype: Any = "float32") -> CheckReport:
    return check_model(folder, LoadOptions(dtype=dtype, device="cpu"), say=lambda _: None)


def findings(report: CheckReport) -> dict[str, bool]:
    return {finding.name: finding.passed for finding in report.findings}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.verify.check.SPEED_SECONDS", 0.01)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sound_folder_agrees_with_the_card(tmp_path: Path, dtype: str) -> None:
    report = check(build(tmp_path / "Qwen3-Embedding-0.6B"), dtype)

    assert findings(report)[PUBLISHED] and report.passed


def test_another_terminator_is_found_though_the_library_agrees(tmp_path: Path) -> None:
    folder = build(tmp_path / "Qwen3-Embedding-0.6B")
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text("utf-8"))
    ends = json.dumps(document["post_processor"]).replace("<|endoftext|>", "<|im_end|>").replace("260", "262")
    file.write_text(json.dumps(document | {"post_processor": json.loads(ends)}), "utf-8")

    found = findings(check(folder))

    assert found["worst_cosine"] and not found[PUBLISHED]


def test_another_pooling_is_found(tmp_path: Path) -> None:
    recipe = next(recipe for recipe in ZOO if recipe.name == "BAAI/bge-small-en-v1.5")
    folder = build_recipe(recipe, tmp_path / "bge-small-en-v1.5")
    assert findings(check(folder))[PUBLISHED]
    pooling = folder / "1_Pooling" / "config.json"
    modes = {key: value for key, value in json.loads(pooling.read_text("utf-8")).items() if "pooling_mode" not in key}
    pooling.write_text(json.dumps(modes | {"pooling_mode_mean_tokens": True}), "utf-8")

    found = findings(check(folder))

    assert found["worst_cosine"] and not found[PUBLISHED]


def test_other_models_have_no_procedure(tmp_path: Path) -> None:
    assert PUBLISHED not in findings(check(build(tmp_path / "support-search")))


@pytest.mark.parametrize(
    ("name", "after", "pooling"),
    [
        ("intfloat/e5-mistral-7b-instruct", "</s>", "lasttoken"),
        ("intfloat/multilingual-e5-large", "</s>", "mean"),
        ("intfloat/e5-base-v2", "[SEP]", "mean"),
        ("BAAI/bge-m3", "</s>", "cls"),
        ("BAAI/bge-large-zh-v1.5", "[SEP]", "cls"),
        ("thenlper/gte-large", "[SEP]", "mean"),
        ("Alibaba-NLP/gte-Qwen2-1.5B-instruct", "<|endoftext|>", "lasttoken"),
    ],
)
def test_a_family_is_known_by_name(tmp_path: Path, name: str, after: str, pooling: str) -> None:
    procedure = find_procedure(load_preprocessor(build(tmp_path / "m")).info, name)

    assert procedure is not None
    assert (procedure.after, procedure.pooling) == (after, pooling)
    assert len({part for part, _ in PROCEDURES}) == len(PROCEDURES)
