"""How far from the reference results may be, in float32 and in narrower dtypes. Pure numpy.

A narrower dtype rounds each model differently: the reference's own run in that dtype says how much is rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.interface import Row
from models.verify.offline import cosines

# Above a limit: how many times the reference's own error in that dtype ours may be, at worst and on average. Right
# models had 2.3 and 1.5 times at most; faulty ones mostly 4 times and more (docs/decisions.md, 68).
WORST_FACTOR, AVERAGE_FACTOR = 3, 2
# The same between a text alone and in a batch.
BATCH_FACTOR = 0.5


@dataclass(frozen=True, slots=True)
class Errors:
    """How far results are from others: 1 - cosine of vectors, differences of scores."""

    worst: float
    average: float

    def are_within(self, limit: float, library: "Errors | None") -> bool:
        """Whether they are below `limit`, or near enough to the errors of the library in the same dtype. NaN is not."""
        if self.worst <= limit:
            return True
        if library is None:
            return False
        return self.worst <= WORST_FACTOR * library.worst and self.average <= AVERAGE_FACTOR * library.average


@dataclass(frozen=True, slots=True)
class Measure:
    """How results of one kind are compared; the limits are errors.

    measure: how a report names the number.
    limit, limit_half: to the reference in float32, for float32 and for narrower dtypes.
    batch, batch_half: between a text alone and in a batch.
    """

    name: str
    measure: str
    errors: Callable[[Sequence[Row], Sequence[Row]], Errors]
    limit: float
    limit_half: float
    batch: float
    batch_half: float

    def value(self, error: float) -> float:
        """The number that a report shows for an error."""
        return 1 - error if self.name == "cosine" else error

    def text(self, error: float) -> str:
        return f"{1 - error:.7f}" if self.name == "cosine" else f"{error:.1e}"

    def required(self, limit: float) -> str:
        return f"≥ {1 - limit:.6g}" if self.name == "cosine" else f"≤ {limit:.3g}"

    def batch_limit(self, library: Errors | None, *, half: bool) -> float:
        """The limit between a text alone and in a batch; wider for a model that its dtype rounds more than usual."""
        if not half:
            return self.batch
        # A block of another size may go to another kernel, which rounds otherwise: 0.35 to 0.39 of the library's own
        # error, for rerankers whose log-odds have a deviation of 4.
        return self.batch_half if library is None else max(self.batch_half, BATCH_FACTOR * library.worst)


def _vector_errors(rows: Sequence[Row], expected: Sequence[Row]) -> Errors:
    distances = 1 - np.asarray(cosines(rows, expected))
    return Errors(float(distances.max()), float(distances.mean()))


def _score_errors(rows: Sequence[Row], expected: Sequence[Row]) -> Errors:
    differences = np.abs(np.asarray(rows, dtype=np.float64) - np.asarray(expected, dtype=np.float64))
    return Errors(float(differences.max()), float(np.sqrt(np.mean(np.square(differences)))))


VECTORS = Measure("cosine", "cosine", _vector_errors, 1e-5, 1e-3, 1e-6, 1e-4)
PACKED_VECTORS = Measure("cosine", "cosine", _vector_errors, 1e-6, 1e-3, 1e-6, 1e-4)
SCORES = Measure("score", "score difference", _score_errors, 1e-5, 2e-2, 1e-5, 5e-3)
