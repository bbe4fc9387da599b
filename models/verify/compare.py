"""Compares another server's vectors and scores with those of a model here, and says what follows. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.interface import Row
from models.verify.offline import cosines

# bfloat16 against float32 is 0.9995 and more, int8 about 0.99, another model or prompt far below.
SAME = 0.999
UNIT_TOLERANCE = 1e-3
# A few ties may fall the other way in the same order.
SAME_ORDER = 0.99
SAME_SCORE = 2e-2

Space = Literal["same", "scaled", "partly", "other"]
Order = Literal["same", "order", "other"]


@dataclass(frozen=True, slots=True)
class Vectors:
    """How the other server's vectors compare with ours."""

    texts: int
    dimensions: int
    width: int
    worst_cosine: float
    median_cosine: float
    worst_text: str
    are_unit: bool
    norm_ratio: float
    """Median ratio of their lengths to ours before normalising."""
    space: Space

    @property
    def must_reindex(self) -> bool:
        """Whether an index of their vectors cannot be searched with ours."""
        return self.space in ("partly", "other")

    @property
    def verdict(self) -> str:
        same = f"the same space: no need to index again (worst cosine {self.worst_cosine:.5f})"
        match self.space:
            case "same" if self.are_unit:
                return f"{same}; their vectors have length 1, like ours on /v1"
            case "same":
                return f"{same}; their vectors are raw, like ours on /inference/v1 or with normalize: false"
            case "scaled":
                scale = f"their vectors are {self.norm_ratio:.4g} times as long as ours"
                return f"{same} except for scale: {scale}, which matters only to indexes that use dot products"
            case "partly":
                text = repr(self.worst_text[:40])
                return f"the same model, but not for every text: find out why, or index again; {text} differs most"
            case "other":
                return f"another model, or different prompts, pooling or weights: index again ({self._why})"

    @property
    def _why(self) -> str:
        if self.dimensions > self.width:
            return f"their vectors have {self.dimensions} dimensions, ours {self.width}"
        return f"median cosine {self.median_cosine:.5f}"


@dataclass(frozen=True, slots=True)
class Scores:
    """How the other server's rerank scores compare with ours."""

    pairs: int
    worst_difference: float
    order_agreement: float
    """Share of document pairs that both servers put in the same order."""
    are_raw: bool
    order: Order

    @property
    def verdict(self) -> str:
        difference = f"worst difference {self.worst_difference:.4f}"
        match self.order:
            case "same" if self.are_raw:
                return f"the same scores after applying the sigmoid to theirs, which are log-odds ({difference})"
            case "same":
                return f"the same scores: keep your thresholds ({difference})"
            case "order":
                return f"the same order on another scale: choose new thresholds ({difference})"
            case "other":
                share = f"{self.order_agreement:.0%} of the pairs in the same order"
                return f"another model or another prompt: {share}, {difference}"


def compare_vectors(ours: Sequence[Row], theirs: Sequence[Row], texts: Sequence[str]) -> Vectors:
    """Compare their vectors, as received, with our raw vectors of the same texts; another length is another model."""
    width, dimensions = len(ours[0]), len(theirs[0])
    if dimensions != width:
        return Vectors(len(texts), dimensions, width, 0.0, 0.0, texts[0], _are_unit(theirs), float("nan"), "other")
    similarities = np.nan_to_num(cosines(ours, theirs), nan=0.0)
    ratio = float(np.median(_norms(theirs) / np.maximum(_norms(ours), 1e-30)))
    worst, median = int(np.argmin(similarities)), float(np.median(similarities))
    are_unit = _are_unit(theirs)
    space = _space(float(similarities[worst]), median, scaled=not are_unit and abs(ratio - 1) > 0.01)
    return Vectors(
        len(texts), dimensions, width, float(similarities[worst]), median, texts[worst], are_unit, ratio, space
    )


def compare_scores(ours: Sequence[Row], theirs: Sequence[Row]) -> Scores:
    """Compare their scores with our probabilities, one row per query, documents in the order they were sent."""
    are_raw = any(float(np.min(row)) < 0 or float(np.max(row)) > 1 for row in theirs)
    probabilities = [_sigmoid(row) if are_raw else row for row in theirs]
    worst = max(float(np.abs(a - b).max()) for a, b in zip(ours, probabilities, strict=True))
    agreements = [_agreement(a, b) for a, b in zip(ours, probabilities, strict=True)]
    agreement = float(np.mean(np.concatenate(agreements)))
    order: Order = "same" if worst <= SAME_SCORE else "order" if agreement >= SAME_ORDER else "other"
    return Scores(sum(map(len, ours)), worst, agreement, are_raw, order)


def _space(worst: float, median: float, *, scaled: bool) -> Space:
    if worst > SAME:
        return "scaled" if scaled else "same"
    return "partly" if median > SAME else "other"


def _norms(rows: Sequence[Row]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(np.asarray(rows, dtype=np.float64), axis=1))


def _are_unit(rows: Sequence[Row]) -> bool:
    return bool(np.all(np.abs(_norms(rows) - 1) < UNIT_TOLERANCE))


def _sigmoid(row: Row) -> Row:
    return np.asarray(1 / (1 + np.exp(-row.astype(np.float64))), dtype=np.float32)


def _agreement(ours: Row, theirs: Row) -> NDArray[np.bool_]:
    """Whether each pair of documents with different scores here comes in the same order there."""
    first, second = np.triu_indices(len(ours), 1)
    difference = ours[first] - ours[second]
    distinct = np.abs(difference) > 1e-4
    return np.asarray(np.sign(difference[distinct]) == np.sign((theirs[first] - theirs[second])[distinct]))
