"""Whether another server's vectors and scores are those of a model here, and what follows. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.interface import Row
from models.verify.offline import cosines

# bfloat16 against float32 is 0.9995 and more, int8 about 0.99, another model or prompt far below.
SAME = 0.999
UNIT = 1e-3
# A tie or two that fall the other way are no other order.
SAME_ORDER = 0.99
SAME_SCORE = 2e-2

Space = Literal["same", "scaled", "partly", "other"]
Order = Literal["same", "order", "other"]


@dataclass(frozen=True, slots=True)
class Vectors:
    """One server's vectors held against ours."""

    texts: int
    dimensions: int
    width: int
    worst_cosine: float
    median_cosine: float
    worst_text: str
    are_unit: bool
    norm_ratio: float
    """Their length over ours before normalising, the median."""
    space: Space

    @property
    def must_reindex(self) -> bool:
        """Whether vectors that they made cannot be searched with ours."""
        return self.space in ("partly", "other")

    @property
    def verdict(self) -> str:
        """One sentence."""
        kept = f"the same space: no need to index again (worst cosine {self.worst_cosine:.5f})"
        match self.space:
            case "same" if self.are_unit:
                return f"{kept}; their vectors have length 1, as ours have on /v1"
            case "same":
                return f"{kept}; their vectors are raw, as ours are on /inference/v1 or with normalize: false"
            case "scaled":
                times = f"{self.norm_ratio:.4g} times as long as ours"
                return f"{kept} up to scale: theirs are {times}, which matters to indexes that take dot products alone"
            case "partly":
                text = repr(self.worst_text[:40])
                return f"the same model, but not for every text, so index again or find out why: {text} differs most"
            case "other":
                return f"another model, or prompts, pooling or weights that differ: index again ({self._why})"

    @property
    def _why(self) -> str:
        if self.dimensions > self.width:
            return f"their vectors have {self.dimensions} dimensions, ours {self.width}"
        return f"median cosine {self.median_cosine:.5f}"


@dataclass(frozen=True, slots=True)
class Scores:
    """One server's rerank scores held against ours."""

    pairs: int
    worst_difference: float
    order_agreement: float
    """Share of the pairs of documents that both put in the same order."""
    are_raw: bool
    order: Order

    @property
    def verdict(self) -> str:
        """One sentence."""
        difference = f"worst difference {self.worst_difference:.4f}"
        match self.order:
            case "same" if self.are_raw:
                return f"the same scores ({difference}) once the sigmoid is taken of theirs, which are log-odds"
            case "same":
                return f"the same scores: thresholds stay as they are ({difference})"
            case "order":
                return f"the same order on another scale: thresholds must be chosen anew ({difference})"
            case "other":
                share = f"{self.order_agreement:.0%} of the pairs in the same order"
                return f"another model or another prompt: {share}, {difference}"


def compare_vectors(ours: Sequence[Row], theirs: Sequence[Row], texts: Sequence[str]) -> Vectors:
    """Hold their vectors, as they came, against our raw ones of the same texts; of another length they are others."""
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
    """Hold their scores against our probabilities, query by query, documents in the order they were sent."""
    are_raw = any(float(np.min(row)) < 0 or float(np.max(row)) > 1 for row in theirs)
    read = [_sigmoid(row) if are_raw else row for row in theirs]
    worst = max(float(np.abs(one - other).max()) for one, other in zip(ours, read, strict=True))
    agreements = [_agreement(one, other) for one, other in zip(ours, read, strict=True)]
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
    return bool(np.all(np.abs(_norms(rows) - 1) < UNIT))


def _sigmoid(row: Row) -> Row:
    return np.asarray(1 / (1 + np.exp(-row.astype(np.float64))), dtype=np.float32)


def _agreement(ours: Row, theirs: Row) -> NDArray[np.bool_]:
    """Of each two documents that we tell apart, whether they come in the same order."""
    one, other = np.triu_indices(len(ours), 1)
    difference = ours[one] - ours[other]
    told = np.abs(difference) > 1e-4
    return np.asarray(np.sign(difference[told]) == np.sign((theirs[one] - theirs[other])[told]))
