"""In which order inputs run."""

import numpy as np
import pytest

from models import Ids
from models.packing import sort_by_prefix


def _ids(*lists: list[int]) -> list[Ids]:
    return [np.array(one, dtype=np.int32) for one in lists]


@pytest.mark.parametrize(
    ("given", "order", "shared"),
    [
        ([[1, 2, 3]], [0], [0]),
        ([[2], [1]], [1, 0], [0, 0]),
        ([[1, 2, 9], [5], [1, 2, 3]], [2, 0, 1], [0, 2, 0]),
        ([[1, 2, 3], [1, 2]], [1, 0], [0, 2]),
        ([[7, 7], [7, 7]], [0, 1], [0, 2]),
        ([[256], [1], [255]], [1, 2, 0], [0, 0, 0]),
    ],
)
def test_inputs_that_begin_alike_are_neighbours(given: list[list[int]], order: list[int], shared: list[int]) -> None:
    found = sort_by_prefix(_ids(*given))

    assert found.order.tolist() == order
    assert found.shared.tolist() == shared
    assert [ids.tolist() for ids in found.ids] == [given[place] for place in order]
