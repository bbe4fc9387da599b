"""Checks a backend before it serves: its rows are finite and do not depend on the batch, and its head was loaded."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from models.interface import Backend, Ids, Item, ModelError, ModelInfo, NonFinite, Readout, Row

log = logging.getLogger("hearth.models")

# text-embeddings-inference lost the causal mask for texts of equal length; it was tested with unequal lengths only:
# https://github.com/huggingface/text-embeddings-inference/issues/882
BATCH_MATE_LENGTHS = ((9, 9, 9), (3, 17, 31))
SHORT_TOKENS = 9
# A kernel may sum in another order for another number of rows, which is visible in half precision.
MIN_COSINE, MIN_COSINE_HALF = 0.9999, 0.999
# Of a vector in half precision with the one in float32, alone and in a batch: a mask that is lost gives 0.9 and less.
MIN_COSINE_EXACT = 0.995


def check_backend(backend: Backend, info: ModelInfo, exact: Callable[[Item], Row] | None = None) -> None:
    """Compare the vector of a short text alone with its vector in batches of equal and of unequal lengths.

    Args:
        backend: to be checked.
        info: of its model.
        exact: computes one item alone with float32 activations. Vectors in half precision that differ too much pass
            if each is close to that: the kernels of a GPU may sum in another order for another number of rows.

    Raises: ModelError: a row holds NaN or Inf, the head is all zeros, or the vector changes with its batch mates.
    """
    random = np.random.default_rng(0)
    text = _text(random, SHORT_TOKENS, info)
    alone = _vectors(backend, [text])[0]
    least = MIN_COSINE if backend.info.dtype == "float32" else MIN_COSINE_HALF
    for lengths in BATCH_MATE_LENGTHS:
        batch_mates = [_text(random, length, info) for length in lengths]
        # In third place, so that a fault in the first or last row of a batch cannot hide.
        together = _vectors(backend, [*batch_mates[:2], text, *batch_mates[2:]])[2]
        # Not `<`, because the cosine of a zero vector is NaN.
        if not (cosine := _cosine(alone, together)) >= least:
            if exact is not None and backend.info.dtype != "float32" and _are_close(exact, text, (alone, together)):
                log.warning(
                    "alone and in a batch a text's vectors have the cosine %.6f in %s, and both are close to float32's",
                    cosine,
                    backend.info.dtype,
                )
                continue
            raise ModelError(
                "the vector of a text changes with its batch on this device: "
                f"alone and in a batch it has the cosine {cosine:.6f} (limit {least})"
            )
    if info.kind == "reranker":
        _check_head(backend, [text, _text(random, SHORT_TOKENS, info)])


def _are_close(exact: Callable[[Item], Row], text: Ids, vectors: Sequence[Row]) -> bool:
    expected = exact(Item(text, Readout("vector")))
    return all(_cosine(vector, expected) >= MIN_COSINE_EXACT for vector in vectors)


def _check_head(backend: Backend, texts: Sequence[Ids]) -> None:
    scores = _rows(backend, [Item(text, Readout("score")) for text in texts])
    # An untied head that was not loaded gave 0.5 for every pair: https://github.com/vllm-project/vllm/issues/27857
    if not any(np.any(score) for score in scores):
        raise ModelError("the head's rows of 'yes' and 'no' are equal or all zeros, so every score would be 0.5")


def _text(random: np.random.Generator, length: int, info: ModelInfo) -> Ids:
    return random.integers(0, info.table_rows, min(length, info.max_tokens), dtype=np.int32)


def _vectors(backend: Backend, texts: Sequence[Ids]) -> list[Row]:
    return _rows(backend, [Item(text, Readout("vector")) for text in texts])


def _rows(backend: Backend, items: Sequence[Item]) -> list[Row]:
    try:
        return backend.launch(items).rows()
    except NonFinite as error:
        raise ModelError(f"the model gives NaN or Inf for a short text in {backend.info.dtype}") from error


def _cosine(a: Row, b: Row) -> float:
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    return float(a64 @ b64 / (np.linalg.norm(a64) * np.linalg.norm(b64)))
