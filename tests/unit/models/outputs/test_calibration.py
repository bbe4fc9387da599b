"""What is kept of a model's vectors, and what is made of it for each request."""

from pathlib import Path

import numpy as np
import pytest

from models.interface import ModelError
from models.outputs.calibration import MAX_KEPT, Calibration, calibration_file, read_calibration, write_calibration
from models.outputs.output_dtype import statistics_of
from models.outputs.ranking_loss import ranking_losses
from models.postprocess import finish_vectors

ROWS = np.random.default_rng(1).normal(1, 1, (30, 16)).astype(np.float32)
CALIBRATION = Calibration(ROWS, ranking_losses(ROWS, statistics_of(ROWS)))


@pytest.mark.parametrize("dimensions", [None, 4])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_statistics_are_those_of_vectors_cut_and_scaled_alike(
    dimensions: int | None, normalize: bool, layer_norm: bool
) -> None:
    vectors = finish_vectors(ROWS, dimensions=dimensions, normalize=normalize, layer_norm=layer_norm)

    statistics = Calibration(ROWS, {}).statistics(dimensions=dimensions, normalize=normalize, layer_norm=layer_norm)

    assert statistics.limit == np.abs(vectors).max()
    assert statistics.mean == pytest.approx(vectors.mean(axis=0), abs=1e-6)


def test_they_are_made_once_and_not_kept_without_end() -> None:
    calibration = Calibration(ROWS, {})

    first = calibration.statistics(dimensions=3, normalize=True, layer_norm=False)
    assert calibration.statistics(dimensions=3, normalize=True, layer_norm=False) is first
    for dimensions in range(1, 16):
        calibration.statistics(dimensions=dimensions, normalize=True, layer_norm=False)
        calibration.statistics(dimensions=dimensions, normalize=False, layer_norm=False)

    assert len(calibration._kept) <= MAX_KEPT


def test_a_calibration_reads_back_as_it_was_written(tmp_path: Path) -> None:
    file = calibration_file(tmp_path / "state", "0123")
    write_calibration(file, CALIBRATION, "a model")

    back = read_calibration(file, 16)

    assert back is not None
    assert np.array_equal(back.rows, ROWS)
    assert (back.losses, back.digest) == (CALIBRATION.losses, CALIBRATION.digest)
    assert [path.name for path in file.parent.iterdir()] == ["0123.npz"]


def test_another_sample_has_another_name() -> None:
    assert Calibration(ROWS[1:], {}).digest != CALIBRATION.digest


def test_a_file_that_is_not_there_is_no_calibration(tmp_path: Path) -> None:
    assert read_calibration(tmp_path / "none.npz", 16) is None


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more" * 20, b"text"])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "a.npz"
    file.write_bytes(damage)

    with pytest.raises(ModelError, match="calibrate the model again"):
        read_calibration(file, 16)


def test_a_file_of_another_width_is_refused(tmp_path: Path) -> None:
    write_calibration(tmp_path / "a.npz", CALIBRATION, "a model")

    with pytest.raises(ModelError, match="does not belong to this model"):
        read_calibration(tmp_path / "a.npz", 17)


def test_a_folder_that_cannot_be_made_is_named_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "ascii")

    with pytest.raises(ModelError, match="choose another folder with state_folder"):
        write_calibration(tmp_path / "file" / "a.npz", CALIBRATION, "a model")
