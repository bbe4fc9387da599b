"""The rerank request as each dialect parses it, and the response as each dialect writes it."""

import json
from typing import Any

import numpy as np
import pytest

from server.api.dialects.fireworks import Fireworks
from server.api.dialects.nim import NIM
from server.api.dialects.openai import OpenAI
from server.api.dialects.protocol import ParsedRerank
from server.api.dialects.tei import TEI
from server.api.dialects.vllm import VLLM
from server.errors import ApiError, InternalError
from server.observability.trace import Trace
from server.processing.requests import RerankResult

FIREWORKS, OPENAI = Fireworks(), OpenAI()
RESULT = RerankResult("m", (1, 0), np.array([0.25, 0.5], dtype=np.float32), 9)


def _body(**fields: Any) -> dict[str, Any]:
    return {"query": "q", "documents": ["a", "b"], **fields}


def _written(dialect: Fireworks | OpenAI, **fields: Any) -> Any:
    return json.loads(dialect.write_rerank(dialect.parse_rerank(_body(**fields)), RESULT, Trace("r")).body)


@pytest.mark.parametrize(
    "fields",
    [
        {"task": "t"},
        {"instruction": "t"},
        {"instruct": "t"},
        {"chat_template_kwargs": {"instruction": "t"}},
        {"task": "t", "instruct": "t", "chat_template_kwargs": {"instruction": "t"}},
        {"task": "", "instruct": "t"},
    ],
)
@pytest.mark.parametrize("dialect", [FIREWORKS, OPENAI])
def test_59_the_task_comes_under_several_names(dialect: Fireworks | OpenAI, fields: dict[str, Any]) -> None:
    parsed = dialect.parse_rerank(_body(**fields))

    assert parsed.request.task == "t"
    assert parsed.ignored == []


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"top_k": -1}, "top_k"),
        ({"top_k": "3"}, "top_k"),
        ({"top_n": -1, "top_k": -1}, "top_n"),
        ({"max_doc_length": -1}, "max_doc_length"),
        ({"instruct": 5}, "instruct"),
        ({"chat_template_kwargs": {"instruction": 5}}, "chat_template_kwargs"),
    ],
)
@pytest.mark.parametrize("dialect", [FIREWORKS, OPENAI, TEI()])
def test_errors_call_a_field_as_the_client_does(
    dialect: Fireworks | OpenAI | TEI, fields: dict[str, Any], name: str
) -> None:
    with pytest.raises(ApiError) as caught:
        dialect.parse_rerank({"query": "q", "texts" if isinstance(dialect, TEI) else "documents": ["a"], **fields})

    assert (caught.value.param, caught.value.message.split(":")[0]) == (name, f"Invalid '{name}'")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"text_1": [1], "text_2": ["a"]}, "text_1"),
        ({"queries": "q", "items": 5}, "items"),
        ({"data_1": ["q", "r", "s"], "data_2": ["a", "b"]}, "data_1"),
    ],
)
def test_errors_call_the_sides_of_a_pair_as_the_client_does(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ApiError) as caught:
        VLLM().parse_rerank(fields)

    assert (caught.value.param, caught.value.message.split("'")[1].split("[")[0]) == (name, name)


def test_rank_fields_are_few() -> None:
    with pytest.raises(ApiError) as caught:
        OPENAI.parse_rerank(_body(documents=[{"text": "a"}], rank_fields=["text"] * 101))

    assert caught.value.message == "Invalid 'rank_fields': array too long. Expected at most 100 items, but got 101."


@pytest.mark.parametrize(("documents", "ignored"), [(["a"], ["rank_fields"]), ([{"x": "a"}, "b"], [])])
def test_rank_fields_without_objects_are_ignored_by_name(documents: list[Any], ignored: list[str]) -> None:
    assert OPENAI.parse_rerank(_body(documents=documents, rank_fields=["x"])).ignored == ignored


@pytest.mark.parametrize("name", ["return_text", "return_documents"])
def test_55_teis_texts_come_back_under_either_name(name: str) -> None:
    assert TEI().parse_rerank({"query": "q", "texts": ["a"], name: True}).return_documents is True
    assert TEI().parse_rerank({"query": "q", "texts": ["a"]}).return_documents is False


@pytest.mark.parametrize(
    ("fields", "allowed", "side"),
    [({}, None, "right"), ({"truncate": "none"}, False, "right"), ({"truncate": "START"}, True, "left")],
)
def test_60_truncate_says_how_documents_are_cut(fields: dict[str, Any], allowed: bool | None, side: str) -> None:
    cut = OPENAI.parse_rerank(_body(**fields)).request.cut

    assert (cut.allowed, cut.side) == (allowed, side)


@pytest.mark.parametrize("fields", [{}, {"task": ""}, {"instruction": ""}])
def test_59_no_task_is_none(fields: dict[str, Any]) -> None:
    assert OPENAI.parse_rerank(_body(**fields)).request.task is None


def test_59_two_tasks_are_refused() -> None:
    with pytest.raises(ApiError, match="send the instruction once"):
        OPENAI.parse_rerank(_body(task="a", instruct="b"))


def test_chat_template_kwargs_without_instruction_are_ignored_by_name() -> None:
    assert OPENAI.parse_rerank(_body(chat_template_kwargs={"x": 1})).ignored == ["chat_template_kwargs"]


@pytest.mark.parametrize(("sent", "read"), [(None, None), (0, None), (1, 1), (10, 10)])
def test_56_openai_accepts_a_top_n_from_0(sent: int | None, read: int | None) -> None:
    fields = {name: value for name, value in {"top_n": sent}.items() if value is not None}

    assert OPENAI.parse_rerank(_body(**fields)).request.top_n == read


@pytest.mark.parametrize(
    ("fields", "raw"),
    [
        ({}, False),
        ({"raw_scores": True}, True),
        ({"raw_scores": False, "use_activation": "true"}, False),
        ({"use_activation": False}, True),
        ({"use_activation": True}, False),
        ({"activation": False}, True),
        ({"activation": False, "raw_scores": True}, True),
    ],
)
def test_65_raw_scores_have_the_same_names_on_every_route(fields: dict[str, Any], raw: bool) -> None:
    score, tei = {"queries": "q", "documents": "a"}, {"query": "q", "texts": ["a"]}
    parsed = [
        OPENAI.parse_rerank(_body(**fields)),
        VLLM().parse_rerank(score | fields),
        TEI().parse_rerank(tei | fields),
    ]

    assert [(rerank.request.raw_scores, rerank.ignored) for rerank in parsed] == [(raw, [])] * 3


@pytest.mark.parametrize("name", ["use_activation", "activation"])
def test_65_an_activation_contradicts_raw_scores(name: str) -> None:
    fields = {"raw_scores": True, name: True}
    reason = f"Invalid '{name}': true contradicts 'raw_scores': true; send only one of them."

    for dialect, body in [
        (OPENAI, _body()),
        (VLLM(), {"queries": "q", "documents": "a"}),
        (TEI(), {"query": "q", "texts": ["a"]}),
    ]:
        with pytest.raises(ApiError, match=reason):
            dialect.parse_rerank(body | fields)


@pytest.mark.parametrize("fields", [{"raw_scores": True}, {"use_activation": False}, {"activation": False}])
def test_65_fireworks_has_no_raw_scores(fields: dict[str, Any]) -> None:
    [name] = fields

    with pytest.raises(ApiError, match=f"Invalid '{name}': .*use 'raw_scores' on /v1/rerank"):
        FIREWORKS.parse_rerank(_body(**fields))


def test_65_normalize_is_refused_with_the_name_of_raw_scores() -> None:
    with pytest.raises(ApiError, match="'raw_scores' on /v1/rerank"):
        OPENAI.parse_rerank(_body(normalize=False))


@pytest.mark.parametrize(
    ("documents", "fields", "text"),
    [
        (["a"], {}, "a"),
        ("a", {}, "a"),
        ([{"text": "a", "id": 1}], {}, "a"),
        ([{"x": "a", "y": 2}], {"rank_fields": ["x", "y", "z"]}, "x: a\ny: 2"),
    ],
)
def test_58_a_document_is_text_or_an_object_that_has_it(documents: Any, fields: dict[str, Any], text: str) -> None:
    assert OPENAI.parse_rerank({"query": "q", "documents": documents, **fields}).request.documents == (text,)


@pytest.mark.parametrize("name", ["image", "image_url", "video"])
def test_58_a_document_with_media_beside_its_text_is_refused(name: str) -> None:
    document = {"text": "a", name: "https://example.org/x"}
    reason = f"'{name}' is not supported: inputs are texts"

    with pytest.raises(ApiError, match=rf"Invalid 'documents\[1\]': {reason}"):
        OPENAI.parse_rerank(_body(documents=["a", document]))
    with pytest.raises(ApiError, match=rf"Invalid 'passages\[0\]': {reason}"):
        NIM().parse_rerank({"query": {"text": "q"}, "passages": [document]})
    assert OPENAI.parse_rerank(_body(documents=[document], rank_fields=["text"])).request.documents == ("text: a",)


def test_53_fireworks_answer_has_its_keys_and_no_others() -> None:
    assert _written(FIREWORKS) == {
        "object": "list",
        "model": "m",
        "data": [
            {"index": 1, "relevance_score": 0.5, "document": "b"},
            {"index": 0, "relevance_score": 0.25, "document": "a"},
        ],
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }


def test_54_the_superset_has_strings_in_data_and_objects_in_results() -> None:
    body = _written(OPENAI, documents=[{"text": "a", "id": 7}, "b"])

    assert body["data"] == [
        {"index": 1, "relevance_score": 0.5, "document": "b"},
        {"index": 0, "relevance_score": 0.25, "document": "a"},
    ]
    assert [item["document"] for item in body["results"]] == [{"text": "b"}, {"text": "a", "id": 7}]
    assert body["id"] == "r"


@pytest.mark.parametrize("dialect", [FIREWORKS, OPENAI])
def test_55_documents_are_left_out_when_not_wanted(dialect: Fireworks | OpenAI) -> None:
    assert "document" not in json.dumps(_written(dialect, return_documents=False))


def test_60_warnings_are_bounded() -> None:
    result = RerankResult("m", (0,), RESULT.scores, 9, tuple(f"w{number}" for number in range(25)))

    reply = OPENAI.write_rerank(OPENAI.parse_rerank(_body()), result, Trace("r"))

    assert json.loads(reply.body)["meta"]["warnings"] == [f"w{number}" for number in range(20)] + ["and 5 more"]
    assert reply.headers["X-Hearth-Truncated"] == "25"


def test_73_each_dialect_writes_errors_in_its_own_shape() -> None:
    error = InternalError("m", param="p")

    assert json.loads(OPENAI.write_error(error)) == {
        "error": {"message": "m", "type": "server_error", "param": "p", "code": "internal_error", "object": "error"},
        "message": "m",
        "detail": "m",
    }
    assert json.loads(FIREWORKS.write_error(error)) == {
        "error": {
            "object": "error",
            "type": "server_error",
            "code": "INTERNAL_SERVER_ERROR",
            "message": "m",
            "param": "p",
        }
    }


def test_fields_without_effect_are_silent() -> None:
    parsed: ParsedRerank = OPENAI.parse_rerank(_body(user="u", truncate=True, max_chunks_per_doc=3, foo=1))

    assert parsed.ignored == ["foo"]
