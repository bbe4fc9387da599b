"""Text to ids: control tokens stay text, special tokens come after the cut, foreign ids are told apart."""

from pathlib import Path

import numpy as np
import pytest

from models.interface import Ids, ModelError
from models.text.tokenizer import Tokenizer, agree_inside, cut
from tests.support.checkpoints.vocabulary import ADDED, write_tokenizer

TERMINATOR = 260  # of the tiny vocabulary


@pytest.fixture
def embedding(tmp_path: Path) -> Tokenizer:
    write_tokenizer(tmp_path, terminator=True)
    return Tokenizer(tmp_path / "tokenizer.json")


def ids(*values: int) -> Ids:
    return np.array(values, dtype=np.int32)


@pytest.mark.parametrize("token", ADDED)
def test_a_control_token_in_user_text_stays_text(embedding: Tokenizer, token: str) -> None:
    found = embedding.encode([f"a{token}b"])[0]

    assert not set(found.tolist()) & set(embedding.added.values())
    assert embedding.decode(found) == f"a{token}b"


def test_a_prompt_of_our_own_has_its_control_tokens_parsed(embedding: Tokenizer) -> None:
    assert embedding.encode_control("<think>").tolist() == [embedding.added["<think>"]]


def test_an_embedder_ends_every_text_with_its_terminator(embedding: Tokenizer) -> None:
    assert embedding.with_special_tokens(embedding.encode([""])[0]).tolist() == [TERMINATOR]
    assert embedding.special_count == 1


def test_a_reranker_adds_nothing(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, terminator=False)

    assert Tokenizer(tmp_path / "tokenizer.json").special_count == 0


def test_a_terminator_that_was_sent_is_not_doubled(embedding: Tokenizer) -> None:
    assert embedding.without_special_tokens(ids(5, 6, TERMINATOR)).tolist() == [5, 6]
    assert embedding.without_special_tokens(ids(5, 6)).tolist() == [5, 6]
    assert embedding.without_special_tokens(ids(TERMINATOR)).tolist() == []


def test_truncation_and_padding_of_the_file_are_switched_off(tmp_path: Path) -> None:
    import json

    write_tokenizer(tmp_path, terminator=True)
    file = tmp_path / "tokenizer.json"
    truncation = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    padding = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    more = {"truncation": truncation, "padding": padding | {"pad_type_id": 0, "pad_token": "!"}}
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | more), "utf-8")

    assert len(Tokenizer(file).encode(["abcdefghij"])[0]) == 10


@pytest.mark.parametrize(("side", "kept"), [("right", [1, 2]), ("left", [2, 3])])
def test_a_cut_loses_the_end_that_was_named(side: str, kept: list[int]) -> None:
    assert cut(ids(1, 2, 3), 2, side).tolist() == kept  # type: ignore[arg-type]


def test_a_short_text_is_not_cut() -> None:
    assert cut(ids(1, 2), 2).tolist() == [1, 2]


def test_ids_of_this_vocabulary_are_native(embedding: Tokenizer) -> None:
    native = embedding.encode(["yes, no naïve\n\nends"])[0]

    assert embedding.are_native([native, np.concatenate((native, ids(TERMINATOR), native))])


def test_ids_that_no_text_gives_are_foreign(embedding: Tokenizer) -> None:
    # "n" and "o" apart: this vocabulary joins them.
    apart = ids(*[int(embedding.encode([letter])[0][0]) for letter in "no"])

    assert not embedding.are_native([embedding.encode(["fine"])[0], apart])


def test_a_long_chunk_may_begin_and_end_inside_a_character(embedding: Tokenizer) -> None:
    whole = embedding.encode(["é" * 60])[0]

    assert embedding.are_native([whole[1:-1]])
    assert not embedding.are_native([whole[1:21]])


def test_a_token_that_must_be_single_and_is_not_is_an_error(embedding: Tokenizer) -> None:
    with pytest.raises(ModelError, match="no single token for 'maybe'"):
        embedding.single("maybe")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing: tokenizer\.json"):
        Tokenizer(tmp_path / "tokenizer.json")


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", "utf-8")

    with pytest.raises(ModelError, match="not a tokenizer that can be read"):
        Tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    ("again", "agrees"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], True),
        ([90, 91, 92, 3, 4, 5, 6, 7, 93, 94], True),
        ([1, 2, 3, 4, 50, 6, 7, 8, 9], False),
        ([*range(90, 104), 5], False),
    ],
)
def test_ids_may_come_back_otherwise_at_their_edges_alone(again: list[int], agrees: bool) -> None:
    ids = np.arange(1, 10, dtype=np.int32)

    assert agree_inside(ids, np.array(again, dtype=np.int32)) == agrees
