"""The steps of an embeddings request: what is refused before anything runs, and defaults of the model."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models import NamedPrompts, Preprocessor
from server.config import RequestLimits
from server.registry import ServedModel
from tests.support.server.in_process import ROWS, in_process_server, served


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"dimensions": 9}, "invalid_value"),
        ({"dimensions": 0}, "invalid_value"),
        ({"input": ["a"] * 4}, "array_above_max_length"),
        ({"input": ["aaaa", "aaaa"]}, "max_tokens_per_request"),
        ({"input": "a" * 1000}, None),
        ({"return_logits": [1]}, "wrong_model_kind"),
        ({"prompt_name": "x"}, "invalid_value"),
        ({"model": "x"}, "model_not_found"),
        ({"input": [320]}, "invalid_value"),
    ],
)
async def test_what_is_refused_never_runs(embedder: ServedModel, fields: dict[str, Any], code: str | None) -> None:
    async with in_process_server(embedder, limits=RequestLimits(inputs=3, request_tokens=9)) as here:
        answer = await here.client.post("/v1/embeddings", json={"input": "a", "model": "embedder", **fields})

    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["code"] == code
    assert here.backend.batches == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/embeddings", "dimensions"),
        ("/inference/v1/embeddings", "output_dimension"),
        ("/v2/embed", "output_dimension"),
    ],
)
@pytest.mark.parametrize("dimensions", [0, 10**6, "8"])
async def test_11_dimensions_are_called_as_the_client_does(
    embedder: ServedModel, path: str, name: str, dimensions: object
) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.client.post(path, json={"input": "a", "texts": ["a"], name: dimensions})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["message"].split(":")[0]) == (400, name, f"Invalid '{name}'")


async def test_44_the_size_of_an_answer_is_bounded_in_vectors_too(embedder: ServedModel) -> None:
    async with in_process_server(embedder, limits=RequestLimits(response_floats=16)) as here:
        refused = await here.embed(["a", "b", "c"])
        fewer = await here.embed(["a", "b", "c"], dimensions=5)

    assert (
        refused.json()["error"]["message"]
        == "3 inputs × 8 dimensions exceed the limit of 16 values per response. Send fewer inputs."
    )
    assert fewer.status_code == 200


async def test_44_and_in_logits(reranker: ServedModel) -> None:
    async with in_process_server(reranker, limits=RequestLimits(response_floats=400)) as here:
        refused = await here.embed(["a", "b"], return_logits=[])
        served = await here.embed("a", return_logits=[])

    assert (
        refused.json()["error"]["message"]
        == "2 inputs × 320 logits exceed the limit of 400 values per response. Send fewer inputs."
    )
    assert len(served.json()["data"][0]["embedding"]) == 320


async def test_the_request_of_just_the_limit_is_served(embedder: ServedModel) -> None:
    async with in_process_server(embedder, limits=RequestLimits(inputs=3, request_tokens=9)) as here:
        answer = await here.embed(["aa", "aa", "aa"])

    assert answer.json()["usage"]["total_tokens"] == 9


async def test_rows_come_in_the_order_of_the_request(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        together = await here.embed(["c", "a", "b", "a"])
        alone = [(await here.embed(text)).json()["data"][0]["embedding"] for text in ("c", "a", "b", "a")]

    assert [item["embedding"] for item in together.json()["data"]] == alone


async def test_10_vectors_are_cut_and_then_scaled(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        raw = await here.embed("a", normalize=False)
        short = await here.embed("a", dimensions=3)

    first = np.array(raw.json()["data"][0]["embedding"][:3])
    assert short.json()["data"][0]["embedding"] == pytest.approx((first / np.linalg.norm(first)).tolist(), abs=1e-6)


@pytest.mark.parametrize(("dimensions", "status"), [(8, 200), (4, 400)])
async def test_12_a_model_that_is_not_matryoshka(embedder_text: Preprocessor, dimensions: int, status: int) -> None:
    fixed = served(replace(embedder_text, info=replace(embedder_text.info, matryoshka=False)), "fixed")

    async with in_process_server(fixed) as here:
        assert (await here.embed("a", dimensions=dimensions)).status_code == status


@pytest.mark.parametrize(
    ("sizes", "listed", "choices"),
    [((4, 6), [4, 6, 8], "one of 4, 6 or 8"), ((4, 8, 8), [4, 8], "one of 4 or 8"), ((16,), [8], "8")],
)
async def test_12_the_sizes_of_a_model_are_named_and_listed_once(
    embedder_text: Preprocessor, sizes: tuple[int, ...], listed: list[int], choices: str
) -> None:
    some = served(replace(embedder_text, info=replace(embedder_text.info, matryoshka=sizes)), "some")

    async with in_process_server(some) as here:
        answer = await here.embed("a", dimensions=5)
        model = (await here.client.get("/v1/models/some")).json()

    assert answer.json()["message"] == f"Invalid 'dimensions': must be {choices} for this model; got 5."
    assert model["hearth"]["matryoshka"] == listed


async def test_a_named_prompt_goes_before_text_and_not_before_ids(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        text = await here.embed("a", prompt_name="query")
        ids = await here.embed([64], prompt_name="query")
        tei = await here.client.post("/embed", json={"inputs": [64], "prompt_name": "query"})

    assert text.json()["usage"]["total_tokens"] == len("Query: ") + 2
    assert "X-Hearth-Ignored-Fields" not in text.headers
    assert ids.json()["usage"]["total_tokens"] == 2
    assert ids.headers["X-Hearth-Ignored-Fields"] == tei.headers["X-Hearth-Ignored-Fields"] == "prompt_name"


@pytest.mark.parametrize(
    ("input_type", "tokens"),
    [("search_query", 7), ("search_document", 3), ("clustering", 11), ("classification", 0)],
)
async def test_coheres_input_types_find_the_models_prompts(
    embedder_text: Preprocessor, input_type: str, tokens: int
) -> None:
    prompts = NamedPrompts({"search_query": "Query: ", "passage": "P: ", "clustering": "clustering:"})
    model = served(replace(embedder_text, prompts=prompts), "e")

    async with in_process_server(model) as here:
        answer = await here.client.post("/v2/embed", json={"texts": ["a"], "input_type": input_type})

    assert answer.json()["meta"]["billed_units"]["input_tokens"] == tokens + 2


async def test_a_prompt_that_is_left_out_of_the_mean_is_refused(embedder_text: Preprocessor) -> None:
    model = served(replace(embedder_text, prompts=NamedPrompts({"query": "Query: "}, are_pooled=False)), "e")

    async with in_process_server(model) as here:
        openai = await here.embed("a", prompt_name="query")
        cohere = await here.client.post("/v2/embed", json={"texts": ["a"], "input_type": "search_query"})
        bare = await here.embed("a")

    assert (openai.status_code, cohere.status_code, bare.status_code) == (400, 400, 200)
    assert openai.json()["error"]["message"].startswith("Invalid 'prompt_name': this model leaves its prompt out")
    assert cohere.json()["message"].startswith("Invalid 'input_type'")


async def test_more_logits_than_the_head_has_rows_are_refused_before_they_are_looked_at(reranker: ServedModel) -> None:
    async with in_process_server(reranker) as here:
        every = await here.embed("a", return_logits=[0] * ROWS)
        more = await here.embed("a", return_logits=[-1] * (ROWS + 1))

    assert every.status_code == 200
    assert (more.status_code, more.json()["error"]["code"]) == (400, "array_above_max_length")


async def test_a_model_may_cut_what_is_too_long_unless_the_request_says_no(embedder_text: Preprocessor) -> None:
    async with in_process_server(served(embedder_text, "e", truncate=True)) as here:
        silent = await here.embed("a" * 2000)
        refused = await here.embed("a" * 2000, truncate=False)
        tei = await here.client.post("/embed", json={"inputs": "a" * 2000})
        cohere = await here.client.post("/v2/embed", json={"texts": ["a" * 2000]})
        none = await here.client.post("/v2/embed", json={"texts": ["a" * 2000], "truncate": "NONE"})
        info = await here.client.get("/info")

    assert [answer.headers["X-Hearth-Truncated"] for answer in (silent, tei, cohere)] == ["1", "1", "1"]
    assert (refused.status_code, none.status_code) == (400, 400)
    assert info.json()["auto_truncate"] is True


async def test_a_model_may_have_a_prompt_for_requests_that_name_none(embedder_text: Preprocessor) -> None:
    async with in_process_server(served(embedder_text, "e", prompt_name="query")) as here:
        silent = await here.embed("a")
        none = await here.embed("a", prompt_name="")
        other = await here.embed("a", prompt_name="document")
        ids = await here.embed([64])
        template = await here.embed("a", prompt_template="{text}")
        cohere = await here.client.post("/v2/embed", json={"texts": ["a"], "input_type": "search_document"})

    counts = [answer.json()["usage"]["total_tokens"] for answer in (silent, none, other, ids, template)]
    assert counts == [len("Query: ") + 2, 2, 2, 2, 2]
    assert cohere.json()["meta"]["billed_units"]["input_tokens"] == 2


async def test_a_type_that_is_named_again_and_again_is_written_once(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.client.post("/v2/embed", json={"texts": ["a"], "embedding_types": ["base64", "float"] * 9})

    assert list(answer.json()["embeddings"]) == ["base64", "float"]


@pytest.mark.parametrize(
    ("model", "fields", "tokens"),
    [
        ("embedder:query", {}, len("Query: ") + 2),
        ("embedder-query", {}, len("Query: ") + 2),
        ("embedder-passage", {}, 2),
        ("embedder:query", {"prompt_name": ""}, 2),
        ("embedder:query", {"input_type": "document"}, 2),
        ("embedder-passage", {"input_type": "query"}, len("Query: ") + 2),
    ],
)
async def test_the_prompt_behind_a_models_name_is_that_of_requests_that_name_none(
    embedder: ServedModel, model: str, fields: dict[str, Any], tokens: int
) -> None:
    async with in_process_server(embedder) as here:
        answer = await here.embed("a", model=model, **fields)
        plain = await here.embed("a")

    assert (answer.json()["usage"]["total_tokens"], answer.json()["model"]) == (tokens, model)
    assert plain.json()["usage"]["total_tokens"] == 2


async def test_token_ids_cannot_get_the_prompt_behind_a_name(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        refused = await here.embed([64], model="embedder:query")
        alone = await here.embed([64], model="embedder-passage")

    assert (refused.status_code, refused.json()["error"]["param"], alone.status_code) == (400, "model", 200)
    assert len(here.backend.batches) == 1
