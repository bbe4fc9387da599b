"""The table of models: no row is missing, and one that is wrong is said and felt."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from docs.generate import models as models_page
from models import ModelError
from tests.support.zoo.catalogue import SEEDS
from tests.support.zoo.measure import Measurement
from tests.support.zoo.recipe import Recipe


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    # The program quietens the log and takes one thread for the rest of its life, which ends with the test here.
    level, threads = logging.getLogger("hearth").level, torch.get_num_threads()
    yield
    logging.getLogger("hearth").setLevel(level)
    torch.set_num_threads(threads)


async def _breaks(recipe: Recipe, folder: Path) -> Measurement:
    raise ModelError(f"{folder.name} lists a module that is not supported: Thing")


def test_the_committed_page_has_a_row_for_every_model_of_the_seed_documents() -> None:
    rows = [line for line in models_page.PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]

    assert [recipe.name for recipe in SEEDS if sum(f"| {recipe.name} " in f"{row} " for row in rows) < 2] == []
    assert [row for row in rows if "**" in row] == []


def test_the_committed_page_begins_with_the_guide() -> None:
    guide = models_page.GUIDE.read_text("utf-8")

    assert models_page.PAGE.read_text("utf-8").startswith(guide), "edit docs/generate/models_guide.md: make model-table"


def test_a_model_that_is_served_right_gives_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert models_page.main(["--only", "Qwen3-Reranker-0.6B"]) == 0

    assert "packed" in capsys.readouterr().out


def test_a_model_that_does_not_load_has_a_row_and_gives_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models_page, "measure", _breaks)

    assert models_page.main(["--only", "Qwen3-Embedding-0.6B"]) == 1

    assert "not supported" in capsys.readouterr().out
