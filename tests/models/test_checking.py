"""`hearth check` agrees with a sound model and finds an unsound one."""

from pathlib import Path
from typing import Any

import pytest

from models import LoadOptions, check_model
from models.checking import Report
from models.reference import Reference
from tests.checkpoints import build


def check(folder: Path) -> Report:
    return check_model(folder, LoadOptions(dtype="float32", device="cpu"), say=lambda _: None)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.checking.SPEED_SECONDS", 0.01)


@pytest.mark.parametrize("kind", ["embedder", "reranker", "llm"])
def test_a_sound_model_agrees_with_the_reference(tmp_path: Path, kind: Any) -> None:
    report = check(build(tmp_path / "m", kind))

    assert report.passed
    assert report.backend.backend == "packed"


def test_a_reference_without_the_terminator_is_found_to_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Reference._ids
    monkeypatch.setattr(Reference, "_ids", lambda self, text, *, special: plain(self, text, special=False))

    assert not check(build(tmp_path / "m")).passed


def test_a_suffix_one_newline_short_is_found_to_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.reference.SUFFIX", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n")

    assert not check(build(tmp_path / "m", "reranker")).passed
