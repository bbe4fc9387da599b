"""What a calibration measures, and which models and texts it takes."""

from pathlib import Path

import numpy as np
import pytest

from models import LoadOptions, ModelError, demo_models
from models.postprocess import finish_vectors
from models.verify.calibrate import MIN_TEXTS, calibrate_model, report_of
from models.verify.calibration_texts import CALIBRATION_TEXTS

EMBEDDER, RERANKER = map(Path, demo_models())


def test_the_sample_is_of_different_texts_in_several_scripts() -> None:
    assert len(set(CALIBRATION_TEXTS)) == len(CALIBRATION_TEXTS) >= 90
    for script in ("a", "é", "ы", "的", "の", "ا", "क"):
        assert any(script in text for text in CALIBRATION_TEXTS)


def test_a_model_is_measured_and_its_forms_keep_their_ranking() -> None:
    steps: list[str] = []

    report = calibrate_model(EMBEDDER, LoadOptions(dtype="float32"), CALIBRATION_TEXTS[:30], steps.append)

    assert (report.texts, report.calibration.rows.shape) == (30, (30, report.width))
    assert np.isfinite(report.calibration.rows).all()
    assert report.calibration.losses["float16"].ndcg_at_10 > 0.99
    assert report.calibration.losses["int8"].ndcg_at_10 > 0.9
    assert steps[-1] == "embedding 30 texts"


def test_losses_are_measured_with_the_statistics_of_other_texts() -> None:
    rows = np.random.default_rng(0).normal(0, 1, (60, 16)).astype(np.float32)
    # A sample that says nothing of the texts that are measured.
    rows[::2] *= np.float32(-1)
    rows[::2, 0] += 50

    report = report_of(rows)

    others = report_of(np.repeat(rows[1::2], 2, axis=0))
    assert report.calibration.losses["binary"].ndcg_at_10 < others.calibration.losses["binary"].ndcg_at_10
    assert np.array_equal(report.calibration.rows, rows)


def test_of_many_texts_some_at_equal_distances_are_kept() -> None:
    rows = finish_vectors(np.random.default_rng(0).normal(0, 1, (1200, 4)), normalize=True)

    assert np.array_equal(report_of(rows).calibration.rows, rows[::3])


@pytest.mark.parametrize(
    ("path", "texts", "message"),
    [
        (RERANKER, CALIBRATION_TEXTS, "is a reranker"),
        (EMBEDDER, ["a", " ", "b"] * MIN_TEXTS, f"takes at least {MIN_TEXTS} different texts; got 2"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_before_weights_are_read(
    path: Path, texts: list[str], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        calibrate_model(path, LoadOptions(), texts)
