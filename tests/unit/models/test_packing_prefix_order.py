"""Inputs with a common prefix run one after another."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.interface import Ids
from models.packing import MOST_COMPARED, common_prefixes, sort_by_prefix


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


def _common(lists: list[list[int]]) -> list[int]:
    lengths = np.array([len(values) for values in lists])
    return common_prefixes(np.concatenate(_ids(*lists)), np.cumsum(lengths) - lengths, lengths).tolist()


@given(st.lists(st.lists(st.integers(0, 1), max_size=40), min_size=1, max_size=12))
def test_the_common_prefixes_are_what_comparing_token_by_token_gives(lists: list[list[int]]) -> None:
    def plain(a: list[int], b: list[int]) -> int:
        least = min(len(a), len(b))
        return next((n for n in range(least) if a[n] != b[n]), least)

    assert _common(lists) == [0, *(plain(a, b) for a, b in pairwise(lists))]


def test_long_common_prefixes_are_compared_a_bounded_number_of_tokens_at_a_time() -> None:
    text = list(range(MOST_COMPARED))

    assert _common([text, [*text, 1], [*text[:-1], 7], text[:50000]]) == [0, len(text), len(text) - 1, 50000]


@given(st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=6), min_size=1, max_size=12))
def test_the_order_is_that_of_sorted_lists(lists: list[list[int]]) -> None:
    assert [ids.tolist() for ids in sort_by_prefix(_ids(*lists)).ids] == sorted(lists)
