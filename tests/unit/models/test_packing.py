"""packing: every item sees itself and nothing else, and nothing is stored twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.interface import Ids
from models.packing import PrefixForest, Segment, Segments, pack
from models.prefix_trie import SharingCosts
from tests.support.networks.attention_masks import seen

# Three ids and short lists, so that shared prefixes, duplicates and nesting are frequent.
items_of_three = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=30)


def ids(*values: int) -> Ids:
    return np.array(values, dtype=np.int32)


def arrays(lists: list[list[int]]) -> list[Ids]:
    return [ids(*values) for values in lists]


def text_seen(forest: PrefixForest, end: int, cached: list[Ids]) -> list[int]:
    sources = [forest.tokens, *cached]
    return [int(sources[source][key]) for source, key in seen(forest.layout, end)]


@given(items_of_three)
def test_each_item_sees_exactly_its_own_tokens_in_order(lists: list[list[int]]) -> None:
    forest = pack(arrays(lists))

    ends = forest.ends[forest.rows]
    assert [text_seen(forest, end, []) for end in ends] == lists
    assert (forest.positions[ends] == [len(values) - 1 for values in lists]).all()


@given(items_of_three)
def test_unique_tokens_are_the_distinct_prefixes(lists: list[list[int]]) -> None:
    prefixes = {tuple(values[: n + 1]) for values in lists for n in range(len(values))}

    assert len(pack(arrays(lists)).tokens) == len(prefixes)


@given(items_of_three)
def test_the_path_of_an_end_is_its_item(lists: list[list[int]]) -> None:
    forest = pack(arrays(lists))

    assert [forest.tokens[forest.path(end)].tolist() for end in forest.ends[forest.rows]] == lists


@given(items_of_three, st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), max_size=4))
def test_cached_prefixes_change_what_is_computed_and_not_what_is_seen(
    lists: list[list[int]], cached: list[list[int]]
) -> None:
    forest = pack(arrays(lists), arrays(cached))

    ends = forest.ends[forest.rows]
    assert [text_seen(forest, end, arrays(cached)) for end in ends] == lists
    assert (forest.positions[ends] == [len(values) - 1 for values in lists]).all()
    assert set(forest.used_prefixes) == {b.source - 1 for b in forest.layout.branches if b.source}


@given(items_of_three)
def test_the_layout_of_the_ends_alone_sees_the_same(lists: list[list[int]]) -> None:
    forest = pack(arrays(lists))

    trimmed = forest.layout.at(forest.ends)

    assert [seen(trimmed, n) for n in range(len(forest.ends))] == [seen(forest.layout, end) for end in forest.ends]


@given(items_of_three)
def test_no_token_lies_under_more_branches_than_the_logarithm_allows(lists: list[list[int]]) -> None:
    forest = pack(arrays(lists))

    depths = [sum(b.queries[0] <= t < b.queries[1] for b in forest.layout.branches) for t in range(len(forest.tokens))]
    assert max(depths) <= np.log2(len(forest.tokens)) + 1


def test_nested_items_are_one_segment_with_several_ends() -> None:
    forest = pack([ids(5, 6, 7, 8), ids(5), ids(5, 6, 7)])

    assert forest.tokens.tolist() == [5, 6, 7, 8]
    assert len(forest.layout.segments) == 1
    assert forest.layout.branches == ()
    assert forest.ends[forest.rows].tolist() == [3, 0, 2]


def test_duplicates_share_one_end() -> None:
    forest = pack([ids(5, 6), ids(7), ids(5, 6)])

    assert forest.ends.tolist() == [1, 2]
    assert forest.rows.tolist() == [0, 1, 0]


def test_documents_of_one_query_hang_on_one_branch() -> None:
    query = list(range(100, 120))

    forest = pack([ids(*query, 1, 2), ids(*query, 3), ids(*query, 4, 5)])

    assert len(forest.tokens) == 25
    assert len(forest.layout.branches) == 1
    assert forest.layout.branches[0].keys == (0, 20)
    assert forest.cacheable == (0, 20)


def test_a_short_common_beginning_is_not_offered_for_the_cache() -> None:
    assert pack([ids(1, 2), ids(1, 3)]).cacheable is None


def test_unshared_items_have_no_branches() -> None:
    forest = pack([ids(3, 1), ids(4, 1), ids(5)])

    assert forest.layout.branches == ()
    assert forest.cacheable is None


def test_an_item_equal_to_a_cached_prefix_is_computed() -> None:
    forest = pack([ids(1, 2, 3)], [ids(1, 2, 3)])

    assert forest.tokens.tolist() == [1, 2, 3]
    assert forest.used_prefixes == ()


def test_the_longest_cached_prefix_is_taken() -> None:
    forest = pack([ids(1, 2, 3, 4)], [ids(1), ids(1, 2, 3), ids(1, 2)])

    assert forest.tokens.tolist() == [4]
    assert forest.used_prefixes == (1,)


def test_an_empty_item_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="this is a bug"):
        pack([ids(1), ids()])


@given(items_of_three, st.sampled_from([0.1, 0.5, 1, 5]), st.sampled_from([0, 3, 20]))
def test_whatever_is_shared_each_item_sees_its_own_tokens(lists: list[list[int]], query: float, level: float) -> None:
    forest = pack(arrays(lists), costs=SharingCosts(query, level))

    ends = forest.ends[forest.rows]
    assert [text_seen(forest, end, []) for end in ends] == lists
    assert [forest.tokens[forest.path(end)].tolist() for end in ends] == lists


def test_segments_are_a_sequence_made_of_their_spans() -> None:
    segments = Segments(np.array([[0, 2, 0, 2], [2, 3, 2, 3]]))

    assert list(segments) == [Segment((0, 2), (0, 2)), Segment((2, 3), (2, 3))]
    assert (len(segments), segments[-1], list(segments[:1])) == (2, Segment((2, 3), (2, 3)), [segments[0]])
