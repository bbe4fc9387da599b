"""The forms in which a request's vectors are given out: refused before any work, or made of the vectors after it."""

from collections.abc import Mapping
from pathlib import Path

from models import Matrix, OutputDtype, Quantized, needs_calibration, quantize, unit_statistics
from server.errors import InvalidValue, NotCalibrated
from server.processing.requests import EmbeddingRequest
from server.registry import ServedModel


def check_output_dtypes(request: EmbeddingRequest, model: ServedModel) -> None:
    """Refuse a form that would lose much of the model's ranking, because nothing has measured the model's vectors.

    Raises: NotCalibrated.
    """
    if model.calibration is not None:
        return
    for dtype in request.output_dtypes:
        if needs_calibration(dtype, are_unit=request.normalize):
            # The path of a folder is nothing for clients.
            source = model.id if Path(model.config.path).is_absolute() else model.config.path
            raise NotCalibrated(request.dtype_field, dtype, source)


def other_forms(request: EmbeddingRequest, model: ServedModel, vectors: Matrix) -> Mapping[OutputDtype, Quantized]:
    """The vectors, cut and scaled as the request asks, in each form but float32.

    Raises: InvalidValue: a number is too large for float16.
    """
    dtypes = [dtype for dtype in request.output_dtypes if dtype != "float32"]
    if not dtypes:
        return {}
    statistics = unit_statistics(vectors.shape[1])
    if model.calibration is not None:
        statistics = model.calibration.statistics(
            dimensions=request.dimensions,
            normalize=request.normalize,
            layer_norm=model.preprocessor.info.layer_norm_before_dimensions,
        )
    try:
        return {dtype: quantize(vectors, dtype, statistics) for dtype in dtypes}
    except OverflowError as error:
        reason = f"float16 ends at 65504, and a vector has a number of {error}; send 'normalize': true."
        raise InvalidValue(request.dtype_field, reason) from None
