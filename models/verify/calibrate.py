"""Measures a model's vectors of sample texts, and what each form of output loses in ranking on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.checkpoint.folder import Checkpoint
from models.interface import LoadOptions, ModelError
from models.loading import load_backend, load_preprocessor
from models.outputs.calibration import MAX_ROWS, Calibration
from models.outputs.output_dtype import statistics_of
from models.outputs.ranking_loss import ranking_losses
from models.postprocess import Matrix, finish_vectors
from models.verify.calibration_texts import CALIBRATION_TEXTS
from models.verify.offline import OfflineModel, fitting

# Half of them are measured with the statistics of the other half.
MIN_TEXTS = 20
# The similarities of a thousand texts take 8 MB; more texts change no loss that is shown.
MAX_TEXTS = 2000


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """What a calibration found, and on how many texts; `width` is that of the vectors."""

    calibration: Calibration
    texts: int
    width: int


def calibrate_model(
    path: Path,
    options: LoadOptions,
    texts: Sequence[str] = CALIBRATION_TEXTS,
    progress: Callable[[str], object] = lambda step: None,
) -> CalibrationReport:
    """Load an embedder and calibrate it with texts; of too many, some are taken at equal distances.

    Each text is embedded behind the model's prompt for documents and, every other one, behind that for queries.

    Raises: ModelError: it does not load, is no embedder, or there are too few texts.
    """
    checkpoint = Checkpoint(path)
    preprocessor = load_preprocessor(checkpoint, options)
    if preprocessor.info.kind == "reranker":
        raise ModelError(f"{path} is a reranker; only vectors have forms to calibrate")
    texts = list(dict.fromkeys(text for text in texts if text.strip()))
    if len(texts) < MIN_TEXTS:
        raise ModelError(f"a calibration takes at least {MIN_TEXTS} different texts; got {len(texts)}")
    texts = texts[:: -(-len(texts) // MAX_TEXTS)]
    prompts = preprocessor.prompts
    query, document = (prompts.find(name) or "" if prompts.are_pooled else "" for name in ("query", "document"))
    shown = [(query if index % 4 == 1 else document) + text for index, text in enumerate(texts)]
    model = OfflineModel(preprocessor, load_backend(checkpoint, preprocessor.info, options, progress))
    progress(f"embedding {len(texts)} texts")
    return report_of(np.asarray(model.vectors(fitting(preprocessor, shown)), dtype=np.float32))


def report_of(rows: Matrix) -> CalibrationReport:
    """The report for pooled vectors [n, width] before any scaling."""
    sample, others = (finish_vectors(part, normalize=True) for part in (rows[::2], rows[1::2]))
    losses = ranking_losses(others, statistics_of(sample))
    kept = rows[:: -(-len(rows) // MAX_ROWS)]
    return CalibrationReport(Calibration(kept, losses), len(rows), rows.shape[1])
