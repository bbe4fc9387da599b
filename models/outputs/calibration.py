"""What `hearth calibrate` keeps of a model: vectors of sample texts, and what each form loses in ranking on them.

Vectors, not their mean and ranges: those depend on the dimensions and the scaling that a request asks for.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.interface import ModelError
from models.outputs.output_dtype import NUMBERS, OutputDtype, Statistics, statistics_of
from models.outputs.ranking_loss import RankingLoss
from models.postprocess import Matrix, finish_vectors

CALIBRATIONS = "calibrations"
CALIBRATION_SCHEMA = "hearth-calibration/1"
# More say nothing new: the mean of 500 vectors is known to within 5% of their spread.
MAX_ROWS = 500
# Statistics are kept for this many combinations of dimensions and scaling; a model has one or two in use.
MAX_KEPT = 16


@dataclass(frozen=True, slots=True)
class Calibration:
    """The pooled vectors of sample texts [n, width], before any cut and scaling, and the losses by form. Any thread."""

    rows: Matrix
    losses: Mapping[OutputDtype, RankingLoss]
    _kept: dict[Any, Statistics] = field(default_factory=dict, repr=False, compare=False)

    @property
    def digest(self) -> str:
        """Names the sample: quantised vectors can be compared if they have it in common."""
        return hashlib.sha256(np.ascontiguousarray(self.rows, dtype="<f4").tobytes()).hexdigest()[:8]

    def statistics(self, *, dimensions: int | None, normalize: bool, layer_norm: bool) -> Statistics:
        """The mean and the ranges of vectors that finish_vectors() gives with the same arguments."""
        key = (dimensions, normalize)
        statistics = self._kept.get(key)
        if statistics is None:
            vectors = finish_vectors(self.rows, dimensions=dimensions, normalize=normalize, layer_norm=layer_norm)
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            statistics = self._kept[key] = statistics_of(vectors)
        return statistics


def calibration_file(state_folder: Path, model_digest: str) -> Path:
    """Where the calibration of a model is kept."""
    return state_folder / CALIBRATIONS / f"{model_digest}.npz"


def write_calibration(file: Path, calibration: Calibration, source: str) -> None:
    """Write it atomically; `source` names the model for people.

    Raises: ModelError: the folder cannot be written to.
    """
    losses = {dtype: asdict(loss) for dtype, loss in calibration.losses.items()}
    about = json.dumps({"schema": CALIBRATION_SCHEMA, "source": source, "losses": losses})
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            np.savez(stream, rows=calibration.rows.astype("<f4"), about=np.array(about))
        part.replace(file)
    except OSError as error:
        raise ModelError(
            f"{file.parent} cannot be written to ({error.strerror}); choose another folder with state_folder"
        ) from error


def read_calibration(file: Path, width: int) -> Calibration | None:
    """The calibration in a file, for a model whose vectors have `width` numbers; None if there is no such file.

    Raises: ModelError: it is damaged, or of another model.
    """
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            rows, about = np.asarray(content["rows"], dtype=np.float32), json.loads(str(content["about"]))
        losses: dict[OutputDtype, RankingLoss] = {
            dtype: RankingLoss(**about["losses"][dtype]) for dtype in NUMBERS if dtype != "float32"
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, EOFError) as error:
        raise ModelError(f"{file} is damaged; calibrate the model again: {error}") from error
    if about.get("schema") != CALIBRATION_SCHEMA or rows.ndim != 2 or rows.shape[1] != width:
        raise ModelError(
            f"{file} does not belong to this model or this version; calibrate the model again: "
            f"{about.get('schema')}, rows of shape {list(rows.shape)}, and vectors have {width} numbers"
        )
    return Calibration(rows, losses)
