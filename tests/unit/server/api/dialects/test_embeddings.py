"""The embeddings request and response that the OpenAI and Fireworks dialects share."""

import json
from typing import Any

import numpy as np
import pytest

from server.api.dialects.embeddings import parse_embeddings, write_embeddings
from server.api.dialects.protocol import ParsedEmbedding
from server.errors import ApiError
from server.observability.trace import Trace
from server.processing.requests import EmbeddingResult, Truncation


def _parse(*, default: bool = True, **fields: Any) -> ParsedEmbedding:
    return parse_embeddings({"input": "a", **fields}, normalize=default)


@pytest.mark.parametrize(
    ("default", "fields", "normalize"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"normalize": False}, False),
        (False, {"normalize": "true"}, True),
        (True, {"use_activation": False}, False),
        (True, {"use_activation": False, "normalize": True}, True),
        (True, {"return_logits": [1]}, False),
        (False, {"return_logits": [1], "normalize": True}, True),
        (True, {"return_logits": [1], "use_activation": True}, False),
    ],
)
def test_normalize_is_the_dialects_default_unless_sent(default: bool, fields: dict[str, Any], normalize: bool) -> None:
    assert _parse(default=default, **fields).request.normalize is normalize


@pytest.mark.parametrize(
    ("fields", "cut"),
    [
        ({}, Truncation(allowed=None, max_tokens=None, side="right")),
        ({"truncate": True}, Truncation(allowed=True, max_tokens=None, side="right")),
        ({"truncate_prompt_tokens": -1}, Truncation(allowed=True, max_tokens=None, side="right")),
        ({"truncate_prompt_tokens": 8}, Truncation(allowed=True, max_tokens=8, side="right")),
        ({"truncate": "true", "truncation_direction": "Left"}, Truncation(allowed=True, max_tokens=None, side="left")),
        ({"truncation_side": "left"}, Truncation(allowed=None, max_tokens=None, side="left")),
        ({"truncate": "none"}, Truncation(allowed=False, max_tokens=None, side="right")),
        ({"truncate": "End"}, Truncation(allowed=True, max_tokens=None, side="right")),
        ({"truncate": "START"}, Truncation(allowed=True, max_tokens=None, side="left")),
        ({"truncation": True}, Truncation(allowed=True, max_tokens=None, side="right")),
        ({"truncation": False}, Truncation(allowed=False, max_tokens=None, side="right")),
    ],
)
def test_an_input_is_cut_only_on_request(fields: dict[str, Any], cut: Truncation) -> None:
    assert _parse(**fields).request.cut == cut


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"truncate": "START", "truncation_side": "right"}, "truncation_side"),
        ({"truncate": "MIDDLE"}, "truncate"),
        ({"truncate": True, "truncation": False}, "truncation"),
        ({"normalize": True, "normalized": False}, "normalized"),
        ({"embedding_type": "base64", "encoding_format": "float"}, "embedding_type"),
        ({"embedding_type": "float", "encoding_format": "base64"}, "embedding_type"),
        ({"encoding_format": "base64", "embedding_type": "hex"}, "embedding_type"),
        ({"embedding_type": "int8", "output_dtype": "uint8"}, "output_dtype"),
        ({"encoding_format": "binary", "output_dtype": "ubinary"}, "output_dtype"),
        ({"embedding_type": "float", "output_dtype": "int8"}, "output_dtype"),
        ({"output_dtype": "int8", "precision": "uint8"}, "precision"),
        ({"return_logits": [1], "output_dtype": "float16"}, "output_dtype"),
    ],
)
def test_spellings_that_contradict_each_other_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        _parse(**fields)

    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "encoding"),
    [
        ({"embedding_type": "base64"}, "base64"),
        ({"embedding_type": "float"}, "float"),
        ({"embedding_type": ["float"], "encoding_format": "float"}, "float"),
        ({"encoding_format": "base64"}, "base64"),
        ({"embedding_type": "base64", "encoding_format": "base64"}, "base64"),
    ],
)
def test_embedding_type_is_jinas_name_of_the_encoding(fields: dict[str, Any], encoding: str) -> None:
    assert _parse(**fields).request.encoding_format == encoding


@pytest.mark.parametrize(
    ("fields", "dtype", "encoding", "field"),
    [
        ({"output_dtype": "int8"}, "int8", "float", "output_dtype"),
        ({"output_dtype": "int8", "encoding_format": "base64"}, "int8", "base64", "output_dtype"),
        ({"output_dtype": "uint8", "encoding_format": "float"}, "uint8", "float", "output_dtype"),
        ({"embedding_type": "ubinary", "encoding_format": "base64"}, "ubinary", "base64", "embedding_type"),
        ({"embedding_type": "base64", "output_dtype": "binary"}, "binary", "base64", "output_dtype"),
        ({"embedding_types": ["int8"]}, "int8", "float", "embedding_types"),
        ({"encoding_format": "ubinary"}, "ubinary", "float", "encoding_format"),
        ({"embed_dtype": "float16", "encoding_format": "bytes"}, "float16", "bytes", "embed_dtype"),
        ({"precision": "ubinary"}, "ubinary", "float", "precision"),
        ({"dtype": "FP16"}, "float16", "float", "dtype"),
        ({"quantization": "none", "embedding_type": "base64"}, "float32", "base64", "quantization"),
    ],
)
def test_the_form_of_vectors_is_read_in_every_spelling(
    fields: dict[str, Any], dtype: str, encoding: str, field: str
) -> None:
    request = _parse(**fields).request

    assert (request.output_dtypes, request.encoding_format, request.dtype_field) == ((dtype,), encoding, field)


@pytest.mark.parametrize(
    ("fields", "name", "ignored"),
    [
        ({"input_type": "query"}, "query", []),
        ({"input_type": "passage"}, "document", []),
        ({"input_type": "SEARCH_DOCUMENT"}, "document", []),
        ({"task": "retrieval.query"}, "query", []),
        ({"task": "retrieval.passage"}, "document", []),
        ({"task": "classification"}, "classification", []),
        ({"input_type": "query", "task": "retrieval.passage"}, "query", ["task"]),
        ({"prompt_name": "document", "input_type": "query"}, "document", ["input_type"]),
        ({"prompt_name": "", "input_type": "query"}, "", ["input_type"]),
        ({"prompt_template": "{text}", "input_type": "query"}, None, ["input_type"]),
        ({"input": [1], "input_type": "query"}, None, ["input_type"]),
        ({"return_logits": [1], "task": "retrieval.query"}, None, ["task"]),
        ({"input_type": ""}, None, []),
    ],
)
def test_the_purpose_of_a_text_names_its_prompt(fields: dict[str, Any], name: str | None, ignored: list[str]) -> None:
    parsed = _parse(**fields)

    assert (parsed.request.prompt_name, parsed.ignored) == (name, ignored)


@pytest.mark.parametrize(("fields", "dimensions"), [({"modality": "text"}, None), ({}, 0)])
def test_infinitys_clients_send_0_for_all_dimensions(fields: dict[str, Any], dimensions: int | None) -> None:
    parsed = _parse(dimensions=0, **fields)

    assert (parsed.request.dimensions, parsed.ignored) == (dimensions, [])


def test_logits_leave_dimensions_without_effect() -> None:
    parsed = _parse(return_logits=[], dimensions=0, foo=1)

    assert parsed.request.dimensions is None
    assert parsed.ignored == ["dimensions", "foo"]


@pytest.mark.parametrize("fields", [{"embed_dtype": "fp8_e4m3"}, {"encoding_format": "hex"}, {"endianness": "big"}])
def test_what_would_change_the_answer_is_never_dropped_in_silence(fields: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        _parse(**fields)

    assert caught.value.param == next(iter(fields))


def _write(**fields: Any) -> Any:
    result = EmbeddingResult("modèle", np.array([[1, 2], [3, 4]], dtype=np.float32), 7, 1, 0, "native")
    return write_embeddings(_parse(**fields), result, Trace("r", stages={"forward": 0.5}))


def test_an_answer_has_exactly_its_keys() -> None:
    reply = _write()

    assert json.loads(reply.body) == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1, 2]},
            {"object": "embedding", "index": 1, "embedding": [3, 4]},
        ],
        "model": "modèle",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    assert reply.headers == {"X-Hearth-Truncated": "1", "X-Hearth-Framed": "0", "X-Hearth-Token-Ids": "native"}


def test_the_metadata_header_of_bytes_is_ascii() -> None:
    reply = _write(encoding_format="bytes")

    assert np.frombuffer(reply.body, dtype="<f4").tolist() == [1, 2, 3, 4]
    assert reply.headers["metadata"].isascii()
    assert json.loads(reply.headers["metadata"])["shape"] == [2, 2]


def test_perf_metrics_use_fireworks_names() -> None:
    metrics = json.loads(_write(perf_metrics_in_response=True).body)["perf_metrics"]

    assert (metrics["prompt-tokens"], metrics["prefill-duration"], metrics["tokenizer-duration"]) == (7, 0.5, 0)
