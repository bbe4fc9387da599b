"""What the routes of TEI, vLLM and Cohere do beyond their plain case: fields, limits and errors."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from models import Preprocessor, demo_models
from tests.support.http.requests import (
    DOCUMENTS,
    FOX,
    QUERY,
    embed,
    openai_error,
    rerank,
    scores,
    tokens,
    vector,
    vectors,
)
from tests.support.server.process import ServerProcess

LONG = "a " * 9000


def _tei_error(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "error_type"}
    return dict(answer.json())


def test_66_raw_scores_are_log_odds_in_their_order(plain: httpx.Client) -> None:
    asked = {"query": QUERY, "texts": DOCUMENTS}

    raw = plain.post("/rerank", json={**asked, "raw_scores": True}).json()

    found = scores(rerank(plain))
    assert [row["index"] for row in raw] == list(np.argsort(-found))
    assert [1 / (1 + np.exp(-row["score"])) for row in raw] == pytest.approx(sorted(found, reverse=True), abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"texts": ["a"]}, 400, "Validation"),
        ({"query": "a", "texts": "b"}, 400, "Validation"),
        ({"query": "a", "texts": [1]}, 400, "Validation"),
        ({"query": "a", "texts": ["b"], "model": "nope"}, 404, "Validation"),
        ({"query": LONG, "texts": ["b"]}, 400, "Validation"),
    ],
)
def test_66_every_error_of_texts_is_flat(
    plain: httpx.Client, fields: dict[str, object], status: int, kind: str
) -> None:
    assert _tei_error(plain.post("/rerank", json=fields), status)["error_type"] == kind


@pytest.mark.parametrize(
    ("texts", "message"), [([], "Invalid 'texts': empty array."), (["a"] * 9, "Invalid 'texts': arr")]
)
def test_66_errors_name_texts_and_not_documents(odd: httpx.Client, texts: list[str], message: str) -> None:
    error = _tei_error(odd.post("/rerank", json={"query": "a", "texts": texts}), 400)

    assert error["error"].startswith(message)


@pytest.mark.parametrize("name", ["task", "instruction", "instruct"])
def test_66_the_task_is_that_of_rerank(plain: httpx.Client, name: str) -> None:
    rows = plain.post("/rerank", json={"query": QUERY, "texts": DOCUMENTS, name: "Find the weather"}).json()

    expected = rerank(plain, task="Find the weather").json()["data"]
    assert rows == [{"index": item["index"], "score": item["relevance_score"]} for item in expected]


def test_66_a_text_that_is_cut_is_reported(plain: httpx.Client) -> None:
    answer = plain.post("/rerank", json={"query": "a", "texts": [LONG], "truncate": True, "return_text": True})

    assert answer.headers["x-hearth-truncated"] == "1"
    assert answer.json()[0]["text"] == LONG


@pytest.mark.parametrize("given", [[LONG], ["a", LONG]])
def test_84_an_overlong_input_is_named_by_its_field(plain: httpx.Client, given: list[str]) -> None:
    error = _tei_error(plain.post("/embed", json={"inputs": given}), 400)

    assert error["error"].startswith(f"Invalid 'inputs[{len(given) - 1}]': maximum input length is 8192 tokens. ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "Invalid 'inputs': expected a string"),
        (["a", 1], "Invalid 'inputs[1]': expected a string, like inputs[0]."),
        ([[0], []], "Invalid 'inputs[1]': empty array."),
        ([99999], "Invalid 'inputs[0]': token id 99999 is outside"),
        ([64, 65], "Invalid 'inputs': these token ids are not from the vocabulary"),
        ({"a": 1}, "Invalid 'inputs': objects require 'prompt_template'."),
    ],
)
def test_84_every_error_names_the_field_that_was_sent(plain: httpx.Client, given: object, message: str) -> None:
    assert _tei_error(plain.post("/embed", json={"inputs": given}), 400)["error"].startswith(message)


def test_84_too_many_inputs_are_too_many(odd: httpx.Client) -> None:
    error = _tei_error(odd.post("/embed", json={"inputs": ["a"] * 17}), 400)

    assert error["error"] == "Invalid 'inputs': array too long. Expected at most 16 items, but got 17."


def test_84_its_fields_are_those_of_embeddings(plain: httpx.Client) -> None:
    asked = {"inputs": [0, 0], "dimensions": 8, "normalize": False}

    rows = plain.post("/embed", json=asked).json()

    assert np.array_equal(np.float32(rows), vectors(plain, [[0, 0]], dimensions=8, normalize=False))


def test_84_the_end_is_kept_when_asked(plain: httpx.Client, embedder: Preprocessor) -> None:
    asked = {"inputs": LONG + "b", "truncate": True, "truncation_direction": "Left"}

    rows = plain.post("/embed", json=asked).json()

    ids = embedder.tokenizer.encode([LONG + "b"])[0][-8191:]
    assert np.array_equal(np.float32(rows[0]), vector(plain, ids.tolist()))


@pytest.mark.parametrize(
    ("content", "media", "status"), [(b"{}", "text/html", 415), (b'{"inputs":"' + b"a" * 100_000, "text/plain", 413)]
)
def test_84_before_the_body_is_read_errors_are_the_doors(
    odd: httpx.Client, content: bytes, media: str, status: int
) -> None:
    openai_error(odd.post("/embed", content=content, headers={"content-type": media}), status)


def test_85_control_tokens_in_a_text_are_spelt_out(plain: httpx.Client) -> None:
    asked = {"prompt": "a<|im_end|>b<think>", "return_token_strs": True, "add_special_tokens": False}

    body = plain.post("/tokenize", json=asked).json()

    assert "".join(body["token_strs"]) == asked["prompt"]
    assert len(body["tokens"]) == body["count"] == len(body["token_strs"]) > 4
    assert body["count"] == tokens(embed(plain, asked["prompt"])) - 1


def test_85_offsets_are_those_of_the_text(plain: httpx.Client) -> None:
    text = "Ça va, 天气 🙂"

    [rows] = plain.post("/tokenize", json={"inputs": [text], "add_special_tokens": False}).json()

    assert all(row["text"] == text[row["start"] : row["stop"]] for row in rows)
    assert {row["special"] for row in rows} == {False}


def test_85_control_tokens_are_left_out_by_decode_alone(plain: httpx.Client) -> None:
    ids = plain.post("/tokenize", json={"prompt": "Hello"}).json()["tokens"]

    assert plain.post("/decode", json={"ids": ids}).json() == ["Hello"]
    assert plain.post("/decode", json={"ids": ids, "skip_special_tokens": False}).json() == ["Hello<|endoftext|>"]
    assert plain.post("/detokenize", json={"tokens": ids}).json() == {"prompt": "Hello<|endoftext|>"}


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": []}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [[1]]}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
    ],
)
def test_85_a_bad_field_is_400_and_named(plain: httpx.Client, path: str, fields: dict[str, object], field: str) -> None:
    assert openai_error(plain.post(path, json=fields), 400)["param"] == field


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/decode", {}),
        ("/decode", {"ids": [99999]}),
        ("/decode", {"ids": ["a"]}),
        ("/tokenize", {"inputs": [1]}),
        ("/tokenize", {"inputs": []}),
    ],
)
def test_85_teis_errors_are_flat(plain: httpx.Client, path: str, fields: dict[str, object]) -> None:
    _tei_error(plain.post(path, json=fields), 400)


@pytest.mark.parametrize(
    ("path", "fields"), [("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [0]}), ("/decode", {"ids": [0]})]
)
def test_85_unknown_fields_are_ignored_by_name(plain: httpx.Client, path: str, fields: dict[str, object]) -> None:
    assert plain.post(path, json={**fields, "foo": 1}).headers["x-hearth-ignored-fields"] == "foo"


def test_86_one_pair_may_be_two_strings(plain: httpx.Client) -> None:
    body = plain.post("/score", json={"text_1": QUERY, "text_2": DOCUMENTS[0]}).json()

    assert set(body) == {"id", "object", "created", "model", "data", "usage"}
    [row] = body["data"]
    assert (row["index"], row["object"]) == (0, "score")
    assert np.float32(row["score"]) == scores(rerank(plain, documents=DOCUMENTS[:1]))[0]
    assert body["usage"] == rerank(plain, documents=DOCUMENTS[:1]).json()["usage"]


def test_86_its_fields_are_those_of_rerank(plain: httpx.Client) -> None:
    fields = {"instruction": "Find the weather", "max_tokens_per_doc": 3}

    body = plain.post(
        "/score", json={"queries": QUERY, "documents": DOCUMENTS, "use_activation": False, **fields}
    ).json()

    assert np.array_equal(
        np.float32([row["score"] for row in body["data"]]), scores(rerank(plain, raw_scores=True, **fields))
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"queries": ["a", "b"], "documents": ["a", "b", "c"]}, "queries"),
        ({"queries": ["a", "b"], "documents": "c"}, "queries"),
        ({"queries": [], "documents": ["a"]}, "queries"),
        ({"queries": "a", "documents": []}, "documents"),
        ({"queries": "a"}, "queries"),
        ({"documents": "a"}, "queries"),
        ({"queries": [1], "documents": "a"}, "queries"),
    ],
)
def test_86_what_makes_no_pairs_is_400(plain: httpx.Client, fields: dict[str, object], param: str) -> None:
    error = openai_error(plain.post("/score", json=fields), 400)

    assert error["param"] in (param, "documents")


def test_87_cohere_gives_base64_beside_floats(plain: httpx.Client) -> None:
    body = plain.post("/v2/embed", json={"texts": [FOX], "embedding_types": ["float", "base64"]}).json()

    assert np.array_equal(
        np.frombuffer(base64.b64decode(body["embeddings"]["base64"][0]), "<f4"),
        np.float32(body["embeddings"]["float"][0]),
    )
    assert body["texts"] == [FOX]
    assert body["meta"]["billed_units"] == {"input_tokens": 10}


def test_87_the_first_version_gives_bare_vectors(plain: httpx.Client) -> None:
    body = plain.post("/v1/embed", json={"texts": [FOX, "a"], "input_type": "search_query"}).json()

    assert body["response_type"] == "embeddings_floats"
    assert np.array_equal(np.float32(body["embeddings"]), vectors(plain, [FOX, "a"], prompt_name="query"))


def test_87_or_vectors_by_type_when_types_are_asked_for(plain: httpx.Client) -> None:
    asked = {"texts": [FOX], "embedding_types": ["float"], "truncate": None}

    body = plain.post("/v1/embed", json=asked).json()

    second = plain.post("/v2/embed", json=asked).json()
    assert body["embeddings"] == second["embeddings"]
    assert body["meta"]["api_version"] == {"version": "1"}


def test_87_inputs_are_texts_in_parts(plain: httpx.Client) -> None:
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    body = plain.post("/v2/embed", json={"inputs": [{"content": content}]}).json()

    assert np.array_equal(np.float32(body["embeddings"]["float"]), vectors(plain, ["a\nb"]))


def test_87_a_search_query_gets_the_models_prompt(plain: httpx.Client) -> None:
    body = plain.post("/v2/embed", json={"texts": [FOX], "input_type": "search_query"}).json()

    assert np.array_equal(np.float32(body["embeddings"]["float"]), vectors(plain, [FOX], prompt_name="query"))


@pytest.mark.parametrize(
    ("fields", "side"), [({"truncate": "END"}, "right"), ({"truncate": "START"}, "left"), ({"max_tokens": 9}, "right")]
)
def test_87_a_text_is_cut_at_the_end_that_was_named(plain: httpx.Client, fields: dict[str, object], side: str) -> None:
    answer = plain.post("/v2/embed", json={"texts": [LONG + "b"], **fields})

    expected = vectors(plain, [LONG + "b"], truncate_prompt_tokens=fields.get("max_tokens", -1), truncation_side=side)
    assert answer.headers["x-hearth-truncated"] == "1"
    assert np.array_equal(np.float32(answer.json()["embeddings"]["float"]), expected)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"texts": [LONG]},
        {"texts": [1]},
        {"inputs": []},
        {"inputs": ["a"]},
        {"texts": ["a"], "inputs": [{"content": [{"type": "text", "text": "a"}]}]},
        {"inputs": [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"texts": ["a"], "max_tokens": 0},
        {"texts": ["a"], "output_dimension": 257},
        {"texts": ["a"], "input_type": "image"},
        {"texts": ["a"], "truncate": "MIDDLE"},
    ],
)
def test_87_anything_else_is_400(plain: httpx.Client, fields: dict[str, object]) -> None:
    openai_error(plain.post("/v2/embed", json=fields), 400)


@pytest.mark.parametrize(
    ("model", "kind", "limit"),
    [("Qwen/Qwen3-Embedding-0.6B", "embedding", 16), ("Qwen/Qwen3-Reranker-8B", "reranker", 8)],
)
def test_88_info_names_the_limit_in_force(odd: httpx.Client, model: str, kind: str, limit: int) -> None:
    body = odd.get("/info", params={"model": model}).json()

    assert list(body["model_type"]) == [kind]
    assert (body["model_id"], body["max_client_batch_size"], body["auto_truncate"]) == (model, limit, False)


def test_88_without_a_model_it_is_the_default_embedder(plain: httpx.Client) -> None:
    assert plain.get("/info").json()["model_type"] == {"embedding": {"pooling": "last_token"}}


def test_88_an_unknown_model_is_404(plain: httpx.Client) -> None:
    assert _tei_error(plain.get("/info", params={"model": "nope"}), 404)["error_type"] == "Validation"


def test_88_a_server_of_rerankers_alone_has_them_as_its_default(start: Callable[..., ServerProcess]) -> None:
    hearth = start({"models": [{"path": demo_models()[1], "backend": "fake"}]})

    assert list(hearth.client.get("/info").json()["model_type"]) == ["reranker"]
    assert hearth.client.post("/tokenize", json={"prompt": "no"}).json()["count"] == 1
    assert openai_error(embed(hearth.client, "a"), 404)["code"] == "model_not_found"
