"""POST embeddings over a real socket: inputs, encodings, dimensions and fields."""

import base64
import json

import httpx
import numpy as np
import pytest

from models import Preprocessor
from tests.support.http.requests import (
    FIREWORKS,
    FOX,
    V1,
    content,
    cosine,
    embed,
    openai_error,
    tokens,
    vector,
    vectors,
)

LONG = "the cat sat on the mat and looked at the moon over the old town " * 700


def test_01_one_text_is_one_vector_of_length_1(plain: httpx.Client, embedder: Preprocessor) -> None:
    answer = embed(plain, FOX)

    body = answer.json()
    assert answer.status_code == 200
    assert list(body) == ["id", "object", "data", "model", "usage"]
    assert body["id"] == answer.headers["x-request-id"]
    assert list(body["data"][0]) == ["object", "index", "embedding"]
    assert (body["object"], body["data"][0]["object"], body["data"][0]["index"]) == ("list", "embedding", 0)
    assert len(body["data"][0]["embedding"]) == embedder.info.width
    assert np.linalg.norm(body["data"][0]["embedding"]) == pytest.approx(1, abs=1e-5)
    assert body["usage"] == {"prompt_tokens": 10, "total_tokens": 10}


@pytest.mark.parametrize("path", ["/embeddings", "/v1/embeddings/", "/embeddings/"])
def test_01_other_spellings_of_the_route_answer_directly(plain: httpx.Client, path: str) -> None:
    answer = embed(plain, FOX, path)

    assert answer.status_code == 200
    assert content(answer) == content(embed(plain, FOX))


def test_02_the_fireworks_door_gives_the_raw_state(demo: httpx.Client) -> None:
    answer = embed(demo, FOX, FIREWORKS)

    raw = np.array(answer.json()["data"][0]["embedding"])
    assert abs(np.linalg.norm(raw) - 1) > 0.01
    assert cosine(raw, vector(demo, FOX)) > 0.999999
    assert answer.headers["fireworks-prompt-tokens"] == "10"
    assert float(answer.headers["fireworks-server-processing-time"]) > 0


@pytest.mark.parametrize(("path", "other", "normalize"), [(V1, FIREWORKS, False), (FIREWORKS, V1, True)])
def test_03_an_explicit_normalize_wins_on_both_doors(
    plain: httpx.Client, path: str, other: str, normalize: bool
) -> None:
    asked = vector(plain, FOX, path, normalize=normalize)

    assert np.array_equal(asked, vector(plain, FOX, other))


def test_04_vectors_come_in_the_order_of_the_inputs(plain: httpx.Client) -> None:
    answer = embed(plain, ["a", "b", "a"])

    data = answer.json()["data"]
    assert [item["index"] for item in data] == [0, 1, 2]
    assert data[0]["embedding"] == data[2]["embedding"]
    assert data[0]["embedding"] != data[1]["embedding"]
    assert cosine(np.array(data[0]["embedding"]), vector(plain, "a")) > 0.999999


def test_04_a_list_of_one_text_is_that_text(plain: httpx.Client) -> None:
    assert np.array_equal(vectors(plain, ["x"]), vectors(plain, "x"))


@pytest.mark.parametrize(("given", "count", "used"), [("", 1, 1), (["a", ""], 2, 3)])
def test_05_an_empty_text_is_a_text(plain: httpx.Client, given: object, count: int, used: int) -> None:
    answer = embed(plain, given)

    assert answer.status_code == 200
    assert len(answer.json()["data"]) == count
    assert tokens(answer) == used


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "Invalid 'input': empty array. Expected at least one item."),
        ([[]], "Invalid 'input[0]': empty array. Expected at least one item."),
    ],
)
def test_06_an_empty_list_is_400(plain: httpx.Client, given: object, message: str) -> None:
    error = openai_error(embed(plain, given), 400)

    assert (error["message"], error["code"], error["param"]) == (message, "empty_array", "input")


@pytest.mark.parametrize(
    "given",
    [
        ["a", 1],
        [1, "a"],
        ["a", ["b"]],
        [[1], "a"],
        [True],
        [1.5],
        [-1],
        [[-1]],
        [[1, True]],
        [[1.5]],
        7,
        True,
        [1e30],
        {"title": "a"},
        [{"title": "a"}],
        [None],
        ["a", None],
        [["a"]],
    ],
)
def test_06_an_input_of_no_known_form_is_400(plain: httpx.Client, given: object) -> None:
    error = openai_error(embed(plain, given), 400)

    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")
    assert error["param"] == "input"


@pytest.mark.parametrize("body", [{}, {"input": None}, {"model": "demo-embedding"}])
def test_06_no_input_is_400(plain: httpx.Client, body: dict[str, object]) -> None:
    error = openai_error(plain.post(V1, json=body), 400)

    assert error["message"] == "Missing required parameter: 'input'."
    assert (error["code"], error["param"]) == ("missing_required_parameter", "input")


def test_06_as_many_inputs_as_allowed_come_back_in_order(plain: httpx.Client) -> None:
    texts = [f"number {number}" for number in range(2048)]

    found = vectors(plain, texts, dimensions=64)

    assert found.shape == (2048, 64)
    assert cosine(found[1234], vector(plain, "number 1234", dimensions=64)) > 0.999999


def test_06_one_input_more_is_400_and_names_both_numbers(plain: httpx.Client) -> None:
    error = openai_error(embed(plain, ["a"] * 2049), 400)

    assert error["message"] == "Invalid 'input': array too long. Expected at most 2048 items, but got 2049."
    assert error["code"] == "array_above_max_length"


def test_07_base64_is_the_float_answer_bit_for_bit(plain: httpx.Client, embedder: Preprocessor) -> None:
    text = embed(plain, FOX, encoding_format="base64").json()["data"][0]["embedding"]

    raw = base64.b64decode(text, validate=True)
    assert len(raw) == 4 * embedder.info.width
    assert np.array_equal(np.frombuffer(raw, dtype="<f4"), vector(plain, FOX, encoding_format="float"))


@pytest.mark.parametrize("fields", [{}, {"encoding_format": "float"}, {"encoding_format": None}])
def test_07_floats_are_a_list(plain: httpx.Client, fields: dict[str, object]) -> None:
    assert isinstance(embed(plain, FOX, **fields).json()["data"][0]["embedding"], list)


@pytest.mark.parametrize("wanted", ["hex", "", "FLOAT", 1, ["float"]])
def test_07_another_encoding_is_400(plain: httpx.Client, wanted: object) -> None:
    error = openai_error(embed(plain, FOX, encoding_format=wanted), 400)

    assert (error["param"], error["code"]) == ("encoding_format", "invalid_value")
    assert all(name in error["message"] for name in ("'float'", "'base64'", "'bytes'"))


def test_08_bytes_are_rows_of_float32_and_nothing_else(plain: httpx.Client, embedder: Preprocessor) -> None:
    answer = embed(plain, ["a", FOX], encoding_format="bytes", model="demo-embedding")

    width = embedder.info.width
    assert answer.headers["content-type"] == "application/octet-stream"
    assert len(answer.content) == 8 * width
    assert json.loads(answer.headers["metadata"]) == {
        "model": "demo-embedding",
        "dtype": "float32",
        "endianness": "little",
        "shape": [2, width],
        "usage": {"prompt_tokens": 12, "total_tokens": 12},
    }
    assert np.array_equal(np.frombuffer(answer.content, "<f4").reshape(2, width), vectors(plain, ["a", FOX]))


def test_08_an_error_under_bytes_is_json(plain: httpx.Client) -> None:
    openai_error(embed(plain, [], encoding_format="bytes"), 400)


def test_10_fewer_dimensions_are_the_first_ones_scaled_to_length_1(plain: httpx.Client) -> None:
    short = vector(plain, FOX, dimensions=128)

    first = vector(plain, FOX)[:128]
    assert short == pytest.approx(first / np.linalg.norm(first), abs=1e-6)


def test_10_on_the_fireworks_door_they_are_the_plain_slice(plain: httpx.Client) -> None:
    assert np.array_equal(vector(plain, FOX, FIREWORKS, dimensions=128), vector(plain, FOX, FIREWORKS)[:128])


@pytest.mark.parametrize(("wanted", "given"), [(1, 1), (128.0, 128), (256, 256)])
def test_11_dimensions_from_1_to_the_width_are_served(plain: httpx.Client, wanted: float, given: int) -> None:
    assert len(vector(plain, FOX, dimensions=wanted)) == given


def test_11_the_width_itself_is_as_absent(plain: httpx.Client, embedder: Preprocessor) -> None:
    assert np.array_equal(vector(plain, FOX, dimensions=embedder.info.width), vector(plain, FOX))


def test_11_output_dimension_is_the_same_field(plain: httpx.Client) -> None:
    answer = embed(plain, FOX, output_dimension=128)

    assert content(answer) == content(embed(plain, FOX, dimensions=128))
    assert "x-hearth-ignored-fields" not in answer.headers


@pytest.mark.parametrize("wanted", [257, 0, -1])
def test_11_dimensions_outside_the_width_are_400_and_name_it(plain: httpx.Client, wanted: int) -> None:
    error = openai_error(embed(plain, FOX, dimensions=wanted), 400)

    assert error["message"] == f"Invalid 'dimensions': must be between 1 and 256 for this model; got {wanted}."
    assert (error["param"], error["code"]) == ("dimensions", "invalid_value")


@pytest.mark.parametrize("wanted", ["128", 12.5, True, [128], 1e30])
def test_11_dimensions_that_are_no_integer_are_400(plain: httpx.Client, wanted: object) -> None:
    assert openai_error(embed(plain, FOX, dimensions=wanted), 400)["param"] == "dimensions"


def test_12_a_model_that_is_not_matryoshka_refuses_dimensions(odd: httpx.Client) -> None:
    error = openai_error(embed(odd, "a", model="fixed", dimensions=64), 400)

    assert error["message"] == "This model does not support specifying dimensions."
    assert (error["param"], error["code"]) == ("dimensions", None)


@pytest.mark.parametrize(("model", "wanted"), [("fixed", 256), ("sizes", 64), ("sizes", 128), ("sizes", 256)])
def test_12_sizes_that_the_model_has_are_served(odd: httpx.Client, model: str, wanted: int) -> None:
    assert len(vector(odd, "a", model=model, dimensions=wanted)) == wanted


def test_12_a_size_that_is_not_listed_is_400_and_the_listed_ones_are_named(odd: httpx.Client) -> None:
    error = openai_error(embed(odd, "a", model="sizes", dimensions=65), 400)

    assert error["message"] == "Invalid 'dimensions': must be one of 64, 128 or 256 for this model; got 65."


@pytest.mark.parametrize("path", [V1, FIREWORKS])
def test_13_unknown_fields_are_ignored_by_name(plain: httpx.Client, path: str) -> None:
    answer = embed(plain, "a", path, foo=1, drop_params=True)

    assert answer.status_code == 200
    assert answer.headers["x-hearth-ignored-fields"] == "foo,drop_params"


def test_13_beyond_20_unknown_fields_are_counted(plain: httpx.Client) -> None:
    answer = embed(plain, "a", **{f"f{number}": 1 for number in range(23)})

    assert answer.headers["x-hearth-ignored-fields"].endswith("f18,f19,...+3")


@pytest.mark.parametrize("name", ["user", "prompt_cache_key", "fanout_size", "input_type", "metadata", "cache_salt"])
def test_13_known_fields_without_effect_are_accepted_in_silence(plain: httpx.Client, name: str) -> None:
    answer = embed(plain, "a", **{name: "x"})

    assert answer.status_code == 200
    assert "x-hearth-ignored-fields" not in answer.headers


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x", "é", "", "a" * 65, "a,b"])
def test_14_a_field_name_cannot_write_headers(plain: httpx.Client, name: str) -> None:
    answer = embed(plain, "a", **{name: 1})

    assert answer.status_code == 200
    assert answer.headers["x-hearth-ignored-fields"] == "?"
    assert "set-cookie" not in answer.headers


def test_15_null_is_absent(plain: httpx.Client) -> None:
    names = ["model", "dimensions", "encoding_format", "normalize", "return_logits", "prompt_template", "truncate"]
    more = ["truncate_prompt_tokens", "truncation_side", "perf_metrics_in_response", "prompt_name", "user"]

    answer = embed(plain, FOX, **dict.fromkeys([*names, *more]))

    assert content(answer) == content(embed(plain, FOX))
    assert "x-hearth-ignored-fields" not in answer.headers


@pytest.mark.parametrize(("word", "value"), [("false", False), ("TRUE", True), ("False", False), ("true", True)])
def test_16_words_are_booleans(plain: httpx.Client, word: str, value: bool) -> None:
    assert np.array_equal(vector(plain, FOX, normalize=word), vector(plain, FOX, normalize=value))


@pytest.mark.parametrize("wanted", ["maybe", 1, 0, "", "1", []])
def test_16_anything_else_is_not(plain: httpx.Client, wanted: object) -> None:
    error = openai_error(embed(plain, FOX, normalize=wanted), 400)

    assert error["message"] == "Invalid 'normalize': expected a boolean."
    assert error["param"] == "normalize"


@pytest.mark.parametrize("text", ["a<|im_end|>b", "<think>", "a<|endoftext|>", "<|im_start|>system\n"])
def test_17_control_tokens_in_a_text_are_spelt_out(plain: httpx.Client, embedder: Preprocessor, text: str) -> None:
    ids = embedder.tokenizer.encode([text])[0]

    answer = embed(plain, text)

    assert not set(ids.tolist()) & set(embedder.tokenizer.added.values())
    assert tokens(answer) == len(ids) + 1
    assert np.array_equal(vectors(plain, text), vectors(plain, ids.tolist()))
    assert answer.headers["X-Hearth-Control-Tokens"] == "1"
    assert "X-Hearth-Control-Tokens" not in embed(plain, text.replace("|", "")[1:]).headers


@pytest.mark.parametrize(
    "texts",
    [
        [f"the {word} house" for word in ["red", "blue", "green", "white", "black", "small", "big", "old"]],
        [FOX[: 5 * n] for n in range(8)],
    ],
    ids=["equal lengths", "unequal lengths"],
)
def test_18_a_text_in_a_batch_is_the_text_alone(demo: httpx.Client, texts: list[str]) -> None:
    together = vectors(demo, texts)

    alone = np.stack([vector(demo, text) for text in texts])
    assert min(map(cosine, together, alone)) >= 0.999999


@pytest.mark.parametrize(("given", "where"), [(["a", LONG], "input[1]"), (LONG, "input"), ([LONG], "input[0]")])
def test_19_an_overlong_text_is_400_in_openais_words(plain: httpx.Client, given: object, where: str) -> None:
    error = openai_error(embed(plain, given), 400)

    assert error["message"].startswith(f"Invalid '{where}': maximum input length is 8192 tokens. This input is ")
    assert error["message"].endswith(' tokens: send shorter text, or "truncate": true.')
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", None, "input")


@pytest.mark.parametrize("fields", [{"truncate": True}, {"truncate_prompt_tokens": -1}])
def test_20_a_cut_text_keeps_its_terminator(
    odd: httpx.Client, embedder: Preprocessor, fields: dict[str, object]
) -> None:
    answer = embed(odd, FOX + FOX, model="short-embedder", **fields)

    kept = embedder.tokenizer.encode([FOX + FOX])[0][:11].tolist()
    assert tokens(answer) == 12
    assert answer.headers["x-hearth-truncated"] == "1"
    assert answer.json()["data"] == embed(odd, kept, model="native").json()["data"]


def test_21_a_text_is_cut_to_what_was_asked(plain: httpx.Client, embedder: Preprocessor) -> None:
    answer = embed(plain, ["a", FOX], truncate_prompt_tokens=8)

    kept = embedder.tokenizer.encode([FOX])[0][:7].tolist()
    assert tokens(answer) == 2 + 8
    assert answer.headers["x-hearth-truncated"] == "1"
    assert cosine(np.array(answer.json()["data"][1]["embedding"]), vector(plain, kept)) > 0.999999


@pytest.mark.parametrize("name", ["truncation_side", "truncation_direction"])
def test_21_the_end_is_kept_when_asked(plain: httpx.Client, embedder: Preprocessor, name: str) -> None:
    cut = vector(plain, FOX, truncate_prompt_tokens=8, **{name: "Left"})

    kept = embedder.tokenizer.encode([FOX])[0][-7:].tolist()
    assert cosine(cut, vector(plain, kept)) > 0.999999


@pytest.mark.parametrize("wanted", [0, -2, "8", 1.5])
def test_21_a_cut_to_nothing_is_400(plain: httpx.Client, wanted: object) -> None:
    error = openai_error(embed(plain, FOX, truncate_prompt_tokens=wanted), 400)

    assert error["param"] == "truncate_prompt_tokens"


def test_22_too_many_tokens_in_all_are_400_with_both_numbers(odd: httpx.Client, embedder: Preprocessor) -> None:
    error = openai_error(embed(odd, [FOX * 5] * 16), 400)

    wanted = 16 * (len(embedder.tokenizer.encode([FOX * 5])[0]) + 1)
    assert (error["type"], error["code"]) == ("max_tokens_per_request", "max_tokens_per_request")
    assert error["message"] == f"Requested {wanted} tokens, max 500 tokens per request"


def test_25_a_reranker_gives_no_embeddings_and_names_the_route(plain: httpx.Client) -> None:
    error = openai_error(embed(plain, "a", model="demo-reranker"), 400)

    assert error["code"] == "wrong_model_kind"
    assert error["message"] == (
        "Model `demo-reranker` is a reranker and gives no embeddings. Use POST /v1/rerank, or send return_logits."
    )


def test_25_an_embedder_has_no_logits(plain: httpx.Client) -> None:
    error = openai_error(embed(plain, "a", model="demo-embedding", return_logits=[1]), 400)

    assert error["code"] == "wrong_model_kind"
    assert error["message"] == (
        "Model `demo-embedding` is an embedding model and has no token logits. Leave out return_logits."
    )


def test_26_perf_metrics_are_there_when_asked(plain: httpx.Client) -> None:
    body = embed(plain, FOX, perf_metrics_in_response=True).json()

    assert list(body) == ["id", "object", "data", "model", "usage", "perf_metrics"]
    metrics = body["perf_metrics"]
    assert set(metrics) == {"prompt-tokens", "cached-prompt-tokens", "server-processing-time", "tokenizer-duration"} | {
        "prefill-queue-duration",
        "prefill-duration",
    }
    assert (metrics["prompt-tokens"], metrics["cached-prompt-tokens"]) == (10, 0)
    assert metrics["server-processing-time"] >= metrics["prefill-duration"] > 0


def test_26_perf_metrics_are_absent_when_not(plain: httpx.Client) -> None:
    assert "perf_metrics" not in embed(plain, FOX, perf_metrics_in_response=False).json()


@pytest.mark.parametrize(
    ("name", "value"), [("embed_dtype", "bfloat16"), ("endianness", "big"), ("embedding_type", "binary")]
)
def test_26_fields_that_change_decoding_are_refused(plain: httpx.Client, name: str, value: str) -> None:
    assert openai_error(embed(plain, FOX, **{name: value}), 400)["param"] == name


@pytest.mark.parametrize(
    ("name", "value"), [("embed_dtype", "float32"), ("endianness", "native"), ("embedding_type", "float")]
)
def test_26_and_accepted_when_they_change_nothing(plain: httpx.Client, name: str, value: str) -> None:
    assert embed(plain, FOX, **{name: value}).status_code == 200


def test_a_named_prompt_is_put_before_the_text(plain: httpx.Client, embedder: Preprocessor) -> None:
    prompt = embedder.prompts.by_name["query"]

    assert np.array_equal(vector(plain, "x", prompt_name="query"), vector(plain, prompt + "x"))


def test_a_prompt_that_the_model_has_not_is_400_and_its_own_are_named(plain: httpx.Client) -> None:
    error = openai_error(embed(plain, "x", prompt_name="passage"), 400)

    assert error["param"] == "prompt_name"
    assert "query, document" in error["message"]


def test_a_language_model_gives_vectors_and_logits(odd: httpx.Client) -> None:
    assert len(vector(odd, "a", model="language")) == 256
    assert len(vector(odd, "a", model="language", return_logits=[1, 2, 3])) == 3


def test_a_language_model_needs_at_least_one_token(odd: httpx.Client) -> None:
    assert openai_error(embed(odd, "", model="language"), 400)["param"] == "input"


@pytest.mark.parametrize("name", ["demo-embedding", "fireworks/demo-embedding"])
def test_azures_clients_name_the_model_in_the_path(plain: httpx.Client, name: str) -> None:
    path = f"/openai/deployments/{name}/embeddings?api-version=2024-06-01"

    answer = plain.post(path, json={"input": ["a"], "model": "is not read"}, headers={"api-key": "k"})

    assert answer.json()["model"] == name
    assert answer.json()["data"] == embed(plain, ["a"]).json()["data"]


def test_azures_foundry_has_a_path_below_models(plain: httpx.Client) -> None:
    answer = plain.post("/models/embeddings?api-version=2024-05-01-preview", json={"input": ["a"]})

    assert answer.json()["data"] == embed(plain, ["a"]).json()["data"]
    assert plain.get("/models/demo-embedding").status_code == 200


def test_azures_path_names_an_unknown_model(plain: httpx.Client) -> None:
    answer = plain.post("/openai/deployments/nope/embeddings", json={"input": ["a"]})

    assert openai_error(answer, 404)["code"] == "model_not_found"
