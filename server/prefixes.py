"""In which order inputs run, so that those that begin alike are neighbours. numpy, once a request, off the loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models import Ids


@dataclass(frozen=True, slots=True)
class Sorted:
    """Inputs in running order. `order[i]` is the place in the request of the i-th to run; `shared` as in link.Work."""

    ids: tuple[Ids, ...]
    order: NDArray[np.intp]
    shared: NDArray[np.int32]


def sort_by_prefix(ids: Sequence[Ids]) -> Sorted:
    """Sort inputs by their ids and count what each shares with the one before it."""
    # Big-endian bytes sort as the ids do.
    keys = [one.astype(">i4").tobytes() for one in ids]
    order = sorted(range(len(ids)), key=keys.__getitem__)
    in_order = tuple(ids[place] for place in order)
    shared = [0, *(_common(before, after) for before, after in pairwise(in_order))]
    return Sorted(in_order, np.array(order, dtype=np.intp), np.array(shared, dtype=np.int32))


def _common(one: Ids, other: Ids) -> int:
    count = min(len(one), len(other))
    differ = one[:count] != other[:count]
    return int(differ.argmax()) if differ.any() else count
