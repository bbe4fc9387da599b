"""A batch as the device sees it: unique tokens in runs and branches, and where items end. Pure: numpy, no torch.

The tokens lie run after run. A run is a stretch whose tokens follow one another in some item, so each sees all before
it in its run. Where items part, the largest part goes on in the run and the others become runs of their own, laid out
side by side: a branch says that a whole stretch of queries sees a stretch of keys. Runs and branches together are the
causal attention of every item, and no key is stored twice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.interface import Ids

Indexes = NDArray[np.int64]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """Queries that see their own keys: causally if both stretches have one length, else one query that sees all."""

    queries: Span
    keys: Span


@dataclass(frozen=True, slots=True)
class Branch:
    """Queries that see every key of a stretch: of this batch (source 0), or of a kept prefix (source 1, 2, ...)."""

    queries: Span
    keys: Span
    source: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Which keys each query sees. Branches are in order: an outer one, whose keys come first, before an inner one."""

    runs: tuple[Run, ...]
    branches: tuple[Branch, ...]

    def at(self, places: Indexes) -> "Layout":
        """The layout for the queries at `places` (ascending) alone; the keys are those of all tokens."""
        starts = np.array([run.queries[0] for run in self.runs])
        own = starts[np.searchsorted(starts, places, side="right") - 1]
        runs = [Run((n, n + 1), (int(own[n]), int(place) + 1)) for n, place in enumerate(places)]
        branches = []
        for branch in self.branches:
            first, last = np.searchsorted(places, branch.queries).tolist()
            if first < last:
                branches.append(Branch((first, last), branch.keys, branch.source))
        return Layout(tuple(runs), tuple(branches))


@dataclass(frozen=True, slots=True)
class Forest:
    """One packed batch of T unique tokens.

    tokens, positions: [T]. ends: where some item ends, [R], ascending. rows: for each item its index in `ends`.
    used: numbers of the kept prefixes that some item goes on from.
    shared: the beginning that saves most if it is kept for the next batch; a span of tokens, or None.
    """

    tokens: Ids
    positions: Indexes
    layout: Layout
    ends: Indexes
    rows: Indexes
    used: tuple[int, ...]
    shared: Span | None

    def path(self, end: int) -> Indexes:
        """Every token of the item that ends at `end`, in order; not for items that begin with a kept prefix."""
        spans = [branch.keys for branch in self.layout.branches if branch.queries[0] <= end < branch.queries[1]]
        own = next(run.queries[0] for run in reversed(self.layout.runs) if run.queries[0] <= end)
        return np.concatenate([np.arange(*span) for span in [*spans, (own, end + 1)]])
