"""Inputs with a common prefix run one after another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.interface import Ids
from models.packing import common_prefix, sort_by_prefix


def _ids(*lists: list[int]) -> list[Ids]:
    return [np.array(values, dtype=np.int32) for values in lists]


@pytest.mark.parametrize(
    ("lists", "order", "shared"),
    [
        ([[1, 2, 3]], [0], [0]),
        ([[2], [1]], [1, 0], [0, 0]),
        ([[1, 2, 9], [5], [1, 2, 3]], [2, 0, 1], [0, 2, 0]),
        ([[1, 2, 3], [1, 2]], [1, 0], [0, 2]),
        ([[7, 7], [7, 7]], [0, 1], [0, 2]),
        ([[256], [1], [255]], [1, 2, 0], [0, 0, 0]),
    ],
)
def test_inputs_with_a_common_prefix_run_one_after_another(
    lists: list[list[int]], order: list[int], shared: list[int]
) -> None:
    inputs = sort_by_prefix(_ids(*lists))

    assert inputs.order.tolist() == order
    assert inputs.shared.tolist() == shared
    assert [ids.tolist() for ids in inputs.ids] == [lists[index] for index in order]


short_lists = st.lists(st.integers(0, 2), max_size=6)


@given(short_lists, short_lists)
def test_the_common_prefix_is_what_comparing_token_by_token_gives(a: list[int], b: list[int]) -> None:
    plain = next((n for n, (left, right) in enumerate(zip(a, b, strict=False)) if left != right), min(len(a), len(b)))

    assert common_prefix(*_ids(a, b)) == plain


@given(st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=6), min_size=1, max_size=12))
def test_the_order_is_that_of_sorted_lists(lists: list[list[int]]) -> None:
    assert [ids.tolist() for ids in sort_by_prefix(_ids(*lists)).ids] == sorted(lists)
