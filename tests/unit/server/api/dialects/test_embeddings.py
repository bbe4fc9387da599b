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
    ],
)
def test_an_input_is_cut_only_on_request(fields: dict[str, Any], cut: Truncation) -> None:
    assert _parse(**fields).request.cut == cut


def test_logits_leave_dimensions_without_effect() -> None:
    parsed = _parse(return_logits=[], dimensions=0, foo=1)

    assert parsed.request.dimensions is None
    assert parsed.ignored == ["dimensions", "foo"]


@pytest.mark.parametrize("fields", [{"embed_dtype": "int8"}, {"encoding_format": "hex"}, {"endianness": "big"}])
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
