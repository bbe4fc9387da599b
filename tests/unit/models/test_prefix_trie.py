"""Which common prefixes are worth computing once."""

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.support.token_ids import pairs, prose
from models.interface import Ids
from models.packing import pack
from models.prefix_trie import FREE, SharingCosts, grow

# As of varlen_attn with Qwen3 0.6B.
DEAR = SharingCosts(per_query=0.25, per_level=1000)


def _tokens(texts: list[Ids], costs: SharingCosts) -> int:
    return len(pack(texts, costs=costs).tokens)


def test_without_costs_every_common_token_is_shared() -> None:
    root = grow([3, 4, 2], [0, 2, 1], 0)

    assert [(node.depth, len(node.children)) for node in root.children] == [(1, 2)]


@pytest.mark.parametrize(("per_query", "shares"), [(0.9, True), (1.1, False)])
def test_a_prefix_is_shared_if_it_saves_more_than_its_queries_cost(per_query: float, shares: bool) -> None:
    # Eight tokens are saved, and eight of the second item attend to them from a branch.
    root = grow([16, 16], [0, 8], 0, SharingCosts(per_query=per_query))

    assert (len(root.children) == 1) == shares


def test_a_little_more_in_common_is_no_branch_of_its_own() -> None:
    head = list(range(90))
    texts = [np.array([*head, 7, document, *range(126)], dtype=np.int32) for document in range(4)]
    texts += [np.array([*head, 8 + document, *range(127)], dtype=np.int32) for document in range(30)]

    forest = pack(texts, costs=SharingCosts(per_query=0.25))

    assert len(forest.layout.branches) == 1
    assert forest.layout.branches[0].keys == (0, 90)


def test_an_item_that_ends_where_others_go_on_is_kept_when_they_are_parted() -> None:
    root = grow([2, 40, 40], [0, 2, 2], 0, SharingCosts(per_query=1))

    assert [(node.depth, node.item, node.is_end) for node in root.children] == [
        (2, 0, True),
        (40, 1, True),
        (40, 2, True),
    ]


def test_a_level_of_branches_is_kept_if_all_of_it_saves_enough() -> None:
    # Three groups of four texts, each with ten tokens in common: 90 tokens are saved by one level.
    texts = [np.array([group] * 10 + [text] * 10, dtype=np.int32) for group in range(3) for text in range(4)]

    assert _tokens(texts, SharingCosts(per_level=90)) == 150
    assert _tokens(texts, SharingCosts(per_level=91)) == 240


def test_a_deeper_level_that_saves_little_is_left_out() -> None:
    texts = [
        np.array([1] * 100 + [group] * 10 + [text] * 10, dtype=np.int32) for group in range(3) for text in range(20, 24)
    ]

    # The heaviest group goes on where the 100 tokens end, so its texts hang on branches of the outer level.
    assert _tokens(texts, FREE) == 250
    assert _tokens(texts, SharingCosts(per_level=200)) == 310


def test_prose_is_not_shared_where_a_branch_is_dear() -> None:
    texts = list(prose(512, 32))
    unique = [list(ids) for ids in {ids.tobytes(): ids for ids in texts}.values()]

    forest = pack(texts, costs=DEAR)

    assert forest.layout.branches == ()
    assert len(forest.tokens) == sum(map(len, unique))


def test_a_rerank_keeps_its_saving_where_a_branch_is_dear() -> None:
    texts = list(pairs(100))
    apart = sum(map(len, texts))

    saved, most = (apart - _tokens(texts, costs) for costs in (DEAR, FREE))

    assert saved >= 0.95 * most
    assert len(pack(texts, costs=DEAR).layout.branches) == 1


def test_items_that_continue_a_cached_prefix_share_beyond_it() -> None:
    cached = np.arange(20, dtype=np.int32)
    texts = [np.array([*cached, 5, *[text] * 5], dtype=np.int32) for text in range(3)]

    apart = pack(texts, [cached], SharingCosts(per_query=1))

    assert len(apart.tokens) == 18
    assert [branch.source for branch in apart.layout.branches] == [1]


def test_nested_items_need_no_branch_and_are_always_shared() -> None:
    texts = [np.arange(length, dtype=np.int32) for length in (5, 10, 20)]

    forest = pack(texts, costs=SharingCosts(per_query=1e9))

    assert len(forest.tokens) == 20
    assert all(a < b for a, b in pairwise(forest.ends.tolist()))
