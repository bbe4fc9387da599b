"""A long text is cut into chunks of about the same work."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chunking import ATTENTION_TOKENS, CHUNK_STEP, FIRST_CHUNK_TOKENS, chunk_spans, pass_work


@given(st.integers(1, 40_000))
def test_chunks_cover_the_text_and_begin_where_blocks_of_attention_do(tokens: int) -> None:
    spans = chunk_spans(tokens)

    assert [spans[0][0], spans[-1][1]] == [0, tokens]
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert all(start % CHUNK_STEP == 0 and stop > start for start, stop in spans)


def test_no_chunk_has_much_more_work_than_the_first() -> None:
    most = pass_work(0, FIRST_CHUNK_TOKENS)

    assert max(pass_work(*span) for span in chunk_spans(32_768)) < 2 * most


@given(st.integers(0, 30_000), st.integers(1, 5000), st.integers(1, 5000))
def test_the_work_of_two_stretches_is_that_of_both_together(start: int, first: int, second: int) -> None:
    middle, stop = start + first, start + first + second

    assert pass_work(start, middle) + pass_work(middle, stop) == pytest.approx(pass_work(start, stop))


def test_far_into_a_text_attention_is_most_of_the_work() -> None:
    assert pass_work(0, 10) == pytest.approx(10, rel=0.01)
    assert pass_work(9 * ATTENTION_TOKENS, 9 * ATTENTION_TOKENS + 10) == pytest.approx(100, rel=0.01)
