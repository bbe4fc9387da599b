"""Token ids as input."""

import httpx
import numpy as np
import pytest

from models import Preprocessor, TextLimit
from tests.support.http.requests import BODIES, FOX, content, embed, openai_error, tokens, vector, vectors

# "a" and "b": two tokens that the vocabulary never gives for the text "ab".
FOREIGN = [64, 65]


@pytest.fixture
def fox_ids(embedder: Preprocessor) -> list[int]:
    """The text's ids, without terminator."""
    return embedder.tokenizer.encode([FOX])[0].tolist()


def test_28_ids_give_the_vector_of_their_text(plain: httpx.Client, fox_ids: list[int]) -> None:
    answer = embed(plain, fox_ids)

    assert content(answer) == content(embed(plain, FOX))
    assert tokens(answer) == 10
    assert answer.headers["x-hearth-token-ids"] == "native"


def test_28_a_list_of_lists_gives_one_vector_each(plain: httpx.Client, fox_ids: list[int]) -> None:
    answer = embed(plain, [fox_ids, fox_ids[:1]])

    assert tokens(answer) == 10 + 2
    assert answer.json()["data"] == embed(plain, [FOX, "The"]).json()["data"]


def test_28_the_terminator_is_not_doubled(plain: httpx.Client, embedder: Preprocessor, fox_ids: list[int]) -> None:
    answer = embed(plain, [*fox_ids, *embedder.tokenizer.after.tolist()])

    assert content(answer) == content(embed(plain, FOX))


def test_28_whole_numbers_may_be_written_as_floats(plain: httpx.Client, fox_ids: list[int]) -> None:
    assert np.array_equal(vector(plain, list(map(float, fox_ids))), vector(plain, FOX))


@pytest.mark.parametrize(
    ("given", "place", "token"),
    [([999999], "input[0]", 999999), ([0, 999999], "input[1]", 999999), ([[0], [0, 0, -1]], "input[1][2]", -1)],
)
def test_28_an_id_outside_the_vocabulary_is_400_with_its_place(
    plain: httpx.Client, embedder: Preprocessor, given: list[object], place: str, token: int
) -> None:
    error = openai_error(embed(plain, given), 400)

    last = embedder.info.table_rows - 1
    assert error["param"] == "input"
    assert error["message"] == f"Invalid '{place}': token id {token} is outside the model's vocabulary (0..{last})."


@pytest.mark.parametrize(("past", "status"), [(0, 400), (-1, 200)])
def test_28_the_last_row_of_the_table_is_the_last_id(
    plain: httpx.Client, embedder: Preprocessor, past: int, status: int
) -> None:
    assert embed(plain, [embedder.info.table_rows + past]).status_code == status


@pytest.mark.parametrize("given", [FOREIGN, [FOREIGN], [[39], FOREIGN]])
def test_29_ids_of_another_vocabulary_are_400_and_say_what_to_set(plain: httpx.Client, given: list[object]) -> None:
    error = openai_error(embed(plain, given, model="demo-embedding"), 400)

    assert (error["code"], error["param"]) == ("foreign_token_ids", "input")
    assert error["message"] == (
        "Invalid 'input': these token ids are not from the vocabulary of model `demo-embedding`. If you use "
        "LangChain's OpenAIEmbeddings, set check_embedding_ctx_length=False, or send text."
    )


def test_33_a_model_may_take_any_ids(odd: httpx.Client) -> None:
    answer = embed(odd, FOREIGN, model="native")

    assert answer.status_code == 200
    assert answer.headers["x-hearth-token-ids"] == "native"


@pytest.mark.parametrize("given", [FOREIGN, [[0]]])
def test_33_a_model_may_take_none(odd: httpx.Client, given: list[object]) -> None:
    error = openai_error(embed(odd, given, model="textual"), 400)

    assert (error["param"], error["message"]) == (
        "input",
        "Invalid 'input': this model does not accept token ids. Send text.",
    )


def test_34_control_tokens_among_ids_are_native(
    plain: httpx.Client, embedder: Preprocessor, fox_ids: list[int]
) -> None:
    answer = embed(plain, [*fox_ids, embedder.tokenizer.added["<|im_end|>"], *fox_ids])

    assert answer.headers["x-hearth-token-ids"] == "native"
    assert tokens(answer) == 9 + 1 + 9 + 1


def test_text_has_no_header_about_ids(plain: httpx.Client) -> None:
    assert "x-hearth-token-ids" not in embed(plain, FOX).headers


def test_ids_for_logits_are_a_complete_prompt(plain: httpx.Client, reranker: Preprocessor) -> None:
    split = reranker.rerank.split_bodies(BODIES[:1], TextLimit(1000))[0]
    head, document = split.head, split.document
    prompt = reranker.rerank.join(head, document).tolist()

    answer = embed(plain, prompt, return_logits=[0, 1])

    assert tokens(answer) == len(prompt)
    assert (answer.headers["x-hearth-token-ids"], answer.headers["x-hearth-framed"]) == ("native", "0")
    assert answer.json()["data"] == embed(plain, BODIES[0], return_logits=[0, 1]).json()["data"]


def test_overlong_ids_are_cut_before_their_terminator(odd: httpx.Client, embedder: Preprocessor) -> None:
    ids = embedder.tokenizer.encode(["one two three " * 20])[0].tolist()

    answer = embed(odd, ids, model="short-embedder", truncate=True)

    assert tokens(answer) == 12
    assert answer.json()["data"] == embed(odd, ids[:11], model="native").json()["data"]


def test_an_empty_list_among_lists_is_400(plain: httpx.Client) -> None:
    assert openai_error(embed(plain, [[0], []]), 400)["code"] == "empty_array"


def test_33_one_rule_judges_all_lists_together(plain: httpx.Client, fox_ids: list[int]) -> None:
    assert vectors(plain, [fox_ids, fox_ids]).shape == (2, 256)
    assert openai_error(embed(plain, [fox_ids, FOREIGN]), 400)["code"] == "foreign_token_ids"
