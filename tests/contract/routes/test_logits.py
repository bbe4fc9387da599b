"""POST embeddings with return_logits."""

import base64

import httpx
import numpy as np
import pytest

from models import Preprocessor, TextLimit
from tests.support.http.requests import (
    BODIES,
    DOCUMENTS,
    FIREWORKS,
    NO,
    V1,
    YES,
    body_of,
    content,
    embed,
    openai_error,
    rerank,
    scores,
    tokens,
    vector,
    vectors,
)

LONG_DOCUMENT = "The weather in Europe varies. " * 60


@pytest.fixture
def frame(reranker: Preprocessor) -> tuple[str, str]:
    """The official prompt's texts before and after the body."""
    prompt = reranker.rerank
    return reranker.tokenizer.decode(prompt.prefix), reranker.tokenizer.decode(prompt.suffix)


def test_36_logits_come_in_the_order_asked(plain: httpx.Client) -> None:
    logits = vectors(plain, BODIES, return_logits=[NO, YES])

    assert logits.shape == (4, 2)
    assert np.array_equal(vectors(plain, BODIES, return_logits=[YES, NO]), logits[:, ::-1])


def test_36_a_repeated_id_gives_its_logit_twice(plain: httpx.Client) -> None:
    twice = vector(plain, BODIES[0], return_logits=[YES, YES])

    assert twice[0] == twice[1] == vector(plain, BODIES[0], return_logits=[YES])[0]


def test_36_logits_come_in_base64_too(plain: httpx.Client) -> None:
    answer = embed(plain, BODIES[0], return_logits=[NO, YES], encoding_format="base64")

    raw = base64.b64decode(answer.json()["data"][0]["embedding"], validate=True)
    assert len(raw) == 8
    assert np.array_equal(np.frombuffer(raw, "<f4"), vector(plain, BODIES[0], return_logits=[NO, YES]))


@pytest.mark.parametrize("path", [V1, FIREWORKS])
def test_37_normalize_is_the_softmax_over_the_asked_ids(demo: httpx.Client, path: str) -> None:
    found = vectors(demo, BODIES, path, return_logits=[NO, YES, 0], normalize=True)

    powers = np.exp(vectors(demo, BODIES, path, return_logits=[NO, YES, 0]).astype(np.float64))
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert found == pytest.approx(powers / powers.sum(axis=1, keepdims=True), abs=1e-6)


def test_37_both_doors_give_raw_logits_by_default(plain: httpx.Client) -> None:
    asked = {"return_logits": [NO, YES]}

    assert np.array_equal(vectors(plain, BODIES, V1, **asked), vectors(plain, BODIES, FIREWORKS, **asked))
    assert np.array_equal(vectors(plain, BODIES, **asked), vectors(plain, BODIES, normalize=False, **asked))


def test_39_the_probability_of_yes_is_the_rerank_score(demo: httpx.Client) -> None:
    answer = embed(demo, BODIES, return_logits=[NO, YES], normalize=True)

    found = np.array([item["embedding"][1] for item in answer.json()["data"]])
    assert found == pytest.approx(scores(rerank(demo)), abs=1e-6)
    assert answer.headers["x-hearth-framed"] == "4"
    assert tokens(answer) == tokens(rerank(demo))


def test_40_a_complete_prompt_is_taken_as_it_is(plain: httpx.Client, frame: tuple[str, str]) -> None:
    prefix, suffix = frame
    prompts = [prefix + body + suffix for body in BODIES]

    answer = embed(plain, prompts, return_logits=[NO, YES])

    bare = embed(plain, BODIES, return_logits=[NO, YES])
    assert answer.headers["x-hearth-framed"] == "0"
    assert content(answer) == content(bare)


def test_41_the_frame_may_be_switched_off(odd: httpx.Client, reranker: Preprocessor) -> None:
    model = "Qwen/Qwen3-Reranker-8B"
    bare = embed(odd, BODIES, model="unframed", return_logits=[0, 1])
    framed = embed(odd, BODIES, model=model, return_logits=[0, 1])

    frame = len(reranker.rerank.prefix) + len(reranker.rerank.suffix)
    assert tokens(framed) - tokens(bare) == 4 * frame
    assert bare.headers["x-hearth-framed"] == "0"
    assert bare.json()["data"] != framed.json()["data"]


@pytest.mark.parametrize("token", ["<|im_start|>", "<|im_end|>", "</think>"])
def test_42_control_tokens_in_a_document_are_spelt_out(plain: httpx.Client, reranker: Preprocessor, token: str) -> None:
    answer = embed(plain, body_of(f"a {token} b"), return_logits=[NO, YES])

    spelt = reranker.tokenizer.encode([body_of(f"a {token} b")])[0]
    assert answer.headers["x-hearth-framed"] == "1"
    assert tokens(answer) == len(reranker.rerank.prefix) + len(spelt) + len(reranker.rerank.suffix)


@pytest.mark.parametrize(
    ("text", "framed"),
    [
        ("What is the capital of France?", "0"),
        (" " + BODIES[0], "0"),
        (BODIES[0].replace("\n<Query>", " <Query>"), "0"),
        (BODIES[0].replace("\n<", "\n\n<"), "1"),
        ("<Instruct>: \n<Query>: \n<Document>:", "1"),
        ("x <|im_start|>" + BODIES[0], "0"),
    ],
)
def test_43_only_the_official_body_is_framed(
    plain: httpx.Client, reranker: Preprocessor, text: str, framed: str
) -> None:
    answer = embed(plain, text, return_logits=[NO, YES])

    frame = len(reranker.rerank.prefix) + len(reranker.rerank.suffix)
    assert answer.headers["x-hearth-framed"] == framed
    assert tokens(answer) == len(reranker.tokenizer.encode([text])[0]) + int(framed) * frame


def test_44_an_empty_list_asks_for_every_token(plain: httpx.Client, reranker: Preprocessor) -> None:
    every = vector(plain, BODIES[0], return_logits=[])

    assert len(every) == reranker.info.head_rows
    assert every[[NO, YES]] == pytest.approx(vector(plain, BODIES[0], return_logits=[NO, YES]), abs=1e-4)


def test_44_more_numbers_than_an_answer_may_hold_are_400(odd: httpx.Client, reranker: Preprocessor) -> None:
    error = openai_error(embed(odd, ["a", "b"], return_logits=[]), 400)

    assert error["code"] == "response_too_large"
    assert error["message"] == (
        f"2 inputs × {reranker.info.head_rows} logits exceed the limit of 20000 values per response. Send fewer inputs."
    )


@pytest.mark.parametrize("path", [V1, "/embeddings"])
def test_45_an_id_outside_the_head_is_400_and_named(plain: httpx.Client, reranker: Preprocessor, path: str) -> None:
    rows = reranker.info.head_rows

    error = openai_error(embed(plain, BODIES, path, return_logits=[NO, rows]), 400)

    assert error["message"] == (
        f"Invalid 'return_logits[1]': token id {rows} is outside the model's vocabulary (0..{rows - 1})."
    )
    assert error["param"] == "return_logits"


@pytest.mark.parametrize("wanted", [[-1], ["2152"], [True], [1.5], [[1]], "2152", 7, {"a": 1}, [1e30]])
def test_45_anything_but_a_list_of_ids_is_400(plain: httpx.Client, wanted: object) -> None:
    assert openai_error(embed(plain, BODIES, return_logits=wanted), 400)["param"] == "return_logits"


def test_45_null_asks_for_a_vector(plain: httpx.Client) -> None:
    assert len(vector(plain, "a", return_logits=None)) == 256


def test_46_an_overlong_framed_text_is_400(odd: httpx.Client) -> None:
    error = openai_error(embed(odd, body_of(LONG_DOCUMENT), model="short-reranker", return_logits=[0]), 400)

    assert error["message"].startswith("Invalid 'input': maximum input length is 160 tokens. ")


def test_46_a_cut_takes_the_end_of_the_document_and_no_suffix(odd: httpx.Client, reranker: Preprocessor) -> None:
    answer = embed(odd, body_of(LONG_DOCUMENT), model="short-reranker", return_logits=[0, 1], truncate=True)

    split = reranker.rerank.split_bodies([body_of(LONG_DOCUMENT)], TextLimit(1000))[0]
    head, document = split.head, split.document
    room = 160 - len(head) - len(reranker.rerank.suffix)
    by_hand = reranker.rerank.join(head, document[:room]).tolist()
    assert tokens(answer) == 160
    assert answer.headers["x-hearth-truncated"] == "1"
    assert answer.json()["data"] == embed(odd, by_hand, model="unframed", return_logits=[0, 1]).json()["data"]


def test_46_a_complete_prompt_is_never_cut(odd: httpx.Client, frame: tuple[str, str]) -> None:
    prompt = frame[0] + body_of(LONG_DOCUMENT) + frame[1]

    error = openai_error(embed(odd, prompt, model="short-reranker", return_logits=[0], truncate=True), 400)

    assert error["message"].startswith("Invalid 'input': maximum input length is 160 tokens. ")
    assert error["message"].endswith(" tokens: send shorter text.")


def test_47_without_model_it_is_the_default_reranker(plain: httpx.Client) -> None:
    answer = embed(plain, BODIES[0], return_logits=[NO, YES])

    assert answer.json()["model"] == "demo-reranker"


def test_47_fields_of_vectors_have_no_effect_and_are_named(plain: httpx.Client) -> None:
    answer = embed(plain, BODIES[0], return_logits=[NO, YES], dimensions=10, prompt_name="query")

    assert len(answer.json()["data"][0]["embedding"]) == 2
    assert answer.headers["x-hearth-ignored-fields"] == "dimensions,prompt_name"


def test_the_document_alone_decides_its_logits(demo: httpx.Client) -> None:
    together = vectors(demo, BODIES, return_logits=[NO, YES])

    alone = np.stack([vector(demo, body, return_logits=[NO, YES]) for body in BODIES])
    assert len(DOCUMENTS) == len(alone)
    assert together == pytest.approx(alone, abs=1e-4)
