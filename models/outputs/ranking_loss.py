"""What a form of vectors loses in ranking: its ten best documents against those of float32. numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.outputs.output_dtype import NUMBERS, OutputDtype, Statistics, dequantize, quantize
from models.postprocess import Matrix, finish_vectors

BEST = 10
# What is rescored with vectors in float32: as many candidates as search engines take.
CANDIDATES = 100
LEAST_RESCORED = 2 * CANDIDATES


@dataclass(frozen=True, slots=True)
class RankingLoss:
    """How much of float32's ranking a form keeps, 1 at best; `rescored` after its 100 best are compared in float32.

    None: of so few vectors, the 100 best are most.
    """

    recall_at_10: float
    ndcg_at_10: float
    rescored_ndcg_at_10: float | None


def ranking_losses(vectors: Matrix, statistics: Statistics) -> dict[OutputDtype, RankingLoss]:
    """The loss of each form, where each of the vectors [n, d], n >= 2, is a query for all others.

    The statistics are those of other vectors, as in a search. Vectors are compared by cosine.
    """
    vectors = finish_vectors(vectors, normalize=True)
    exact = _similarities(vectors)
    return {dtype: _loss(dtype, vectors, statistics, exact) for dtype in NUMBERS if dtype != "float32"}


def _loss(dtype: OutputDtype, vectors: Matrix, statistics: Statistics, exact: Matrix) -> RankingLoss:
    found = _similarities(dequantize(quantize(vectors, dtype, statistics), dtype, vectors.shape[1]))
    best = _best(exact, BEST)
    order = _best(found, BEST)
    recall = np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(best, order, strict=True)])
    if len(vectors) <= LEAST_RESCORED:
        return RankingLoss(round(float(recall), 4), _ndcg(order, best), None)
    rescored = _best(_among(exact, _best(found, CANDIDATES)), BEST)
    return RankingLoss(round(float(recall), 4), _ndcg(order, best), _ndcg(rescored, best))


def _similarities(vectors: Matrix) -> Matrix:
    units = finish_vectors(vectors, normalize=True)
    similarities = units @ units.T
    np.fill_diagonal(similarities, -np.inf)
    return similarities


def _best(similarities: Matrix, count: int) -> NDArray[np.int64]:
    """The indexes of the `count` most similar in each row, best first; never the row itself."""
    count = min(count, len(similarities) - 1)
    return np.argsort(-similarities, axis=1, kind="stable")[:, :count]


def _among(similarities: Matrix, candidates: NDArray[np.int64]) -> Matrix:
    kept = np.full_like(similarities, -np.inf)
    np.put_along_axis(kept, candidates, np.take_along_axis(similarities, candidates, axis=1), axis=1)
    return kept


def _ndcg(order: NDArray[np.int64], best: NDArray[np.int64]) -> float:
    """NDCG of rankings, where the documents of `best` are worth ten for the first down to one for the tenth."""
    count = best.shape[1]
    worth = np.arange(count, 0, -1, dtype=np.float64)
    discounts = 1 / np.log2(np.arange(2, count + 2))
    gains = ((order[:, :, None] == best[:, None, :]) * worth).sum(axis=2)
    return round(float((gains @ discounts).mean() / (worth @ discounts)), 4)
