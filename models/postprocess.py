"""Rows as the device gives them -> numbers as the client asked for them. numpy, float32, no state."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.interface import Row

Matrix = NDArray[np.float32]


def finish_vectors(
    rows: Sequence[Row] | Matrix, *, dimensions: int | None = None, normalize: bool = False, layer_norm: bool = False
) -> Matrix:
    """Cut pooled vectors to `dimensions`, then scale them to length 1 if asked: [n, d].

    The order is that of Qwen's own code and of OpenAI: a slice taken after normalising is not unit length.
    `layer_norm` applies nomic-embed-text-v1.5's rule (its model card): normalise over the full width, no affine,
    before the slice, and only when there is a slice. A zero vector stays zero.
    """
    matrix = np.asarray(rows, dtype=np.float32)
    if dimensions is not None and dimensions < matrix.shape[1]:
        matrix = (_layer_norm(matrix) if layer_norm else matrix)[:, :dimensions]
    return _unit(matrix) if normalize else np.ascontiguousarray(matrix)


def finish_logits(rows: Sequence[Row] | Matrix, *, normalize: bool = False) -> Matrix:
    """Logits in the order asked, [n, ids]; as probabilities over exactly those ids if `normalize`."""
    matrix = np.asarray(rows, dtype=np.float32)
    if not normalize:
        return matrix
    # float32 throughout: a bfloat16 softmax ties the top scores (mteb PR#4934).
    powers = np.exp(matrix - matrix.max(axis=1, keepdims=True))
    total = powers.sum(axis=1, keepdims=True, dtype=np.float32)
    return np.asarray(powers / total, dtype=np.float32)


def finish_scores(rows: Sequence[Row] | Matrix, *, raw: bool = False) -> Row:
    """Relevance of each document, [n]: sigmoid(logit(yes) - logit(no)), or the log-odds themselves if `raw`.

    Qwen3-Reranker model card: score = softmax over the logits of "no" and "yes"; this is the same number.
    """
    log_odds = np.asarray(rows, dtype=np.float32).reshape(-1)
    if raw:
        return log_odds
    # exp of a non-positive number on either side: no overflow at any log-odds.
    power = np.exp(-np.abs(log_odds))
    scores = np.where(log_odds >= 0, 1 / (1 + power), power / (1 + power))
    return scores.astype(np.float32)


def _unit(matrix: Matrix) -> Matrix:
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return np.asarray(matrix / lengths, dtype=np.float32)


def _layer_norm(matrix: Matrix) -> Matrix:
    centred = matrix - matrix.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + np.float32(1e-5))
    return np.asarray(centred / spread, dtype=np.float32)
