"""What a backend must show before it serves: finite rows, a live head, and no answer that depends on the batch."""

from collections.abc import Sequence

import numpy as np

from models.interface import Backend, Ids, Item, ModelError, ModelInfo, NonFinite, Readout, Row

# MODELS.md: TEI#882 lost the causal mask for texts of equal length, and its test knew unequal ones only.
LENGTHS_BESIDE = ((9, 9, 9), (3, 17, 31))
SHORT_TOKENS = 9
# A kernel may sum in another order for another number of rows, which in half precision shows in a vector.
MIN_COSINE, MIN_COSINE_HALF = 0.9999, 0.999


def check_backend(backend: Backend, info: ModelInfo) -> None:
    """Run a short text alone and in batches of equal and of unequal lengths.

    Raises: ModelError: NaN or Inf, a head of zeros, or a vector that changes with its neighbours.
    """
    random = np.random.default_rng(0)
    text = _text(random, SHORT_TOKENS, info)
    alone = _vectors(backend, [text])[0]
    least = MIN_COSINE if backend.info.dtype == "float32" else MIN_COSINE_HALF
    for lengths in LENGTHS_BESIDE:
        beside = [_text(random, length, info) for length in lengths]
        # Third: a batch that treats its first or last row in a special way must not pass by that.
        together = _vectors(backend, [*beside[:2], text, *beside[2:]])[2]
        # Not `<`: the cosine of a zero vector is NaN.
        if not (cosine := _cosine(alone, together)) >= least:
            raise ModelError(f"a text's vector changes with its batch on this device, cosine with itself: {cosine:.6f}")
    if info.kind == "reranker":
        _check_head(backend, [text, _text(random, SHORT_TOKENS, info)])


def _check_head(backend: Backend, texts: Sequence[Ids]) -> None:
    scores = _rows(backend, [Item(text, Readout("score")) for text in texts])
    # An untied head that was not loaded gave 0.5 for every pair (vllm#27857).
    if not any(np.any(score) for score in scores):
        raise ModelError("the head's rows of 'yes' and 'no' are equal or all zeros, so every score would be: 0.5")


def _text(random: np.random.Generator, length: int, info: ModelInfo) -> Ids:
    return random.integers(0, info.table_rows, min(length, info.max_tokens), dtype=np.int32)


def _vectors(backend: Backend, texts: Sequence[Ids]) -> list[Row]:
    return _rows(backend, [Item(text, Readout("vector")) for text in texts])


def _rows(backend: Backend, items: Sequence[Item]) -> list[Row]:
    try:
        return backend.launch(items).rows()
    except NonFinite as error:
        raise ModelError(f"the model gives NaN or Inf for a short text, in {backend.info.dtype}") from error


def _cosine(one: Row, other: Row) -> float:
    wide, other_wide = one.astype(np.float64), other.astype(np.float64)
    return float(wide @ other_wide / (np.linalg.norm(wide) * np.linalg.norm(other_wide)))
