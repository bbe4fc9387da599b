"""Every name of a field is read on every route that has the field."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from server.api.fields.spellings import SPELLINGS, aliases_of, first_spelling
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server
from tests.unit.server.api.fields.test_unsupported import ROUTES, Body

# A value with an effect on each field, where the routes have one.
SENT: dict[str, Any] = {
    "dimensions": 4,
    "encoding_format": "base64",
    "output_dtype": "float16",
    "embedding_type": ["float16"],
    "normalize": "true",
    "truncate": "NONE",
    "truncation_side": "Left",
    "input_type": "query",
    "task": "query",
    "top_n": 1,
    "max_tokens_per_doc": 3,
    "return_documents": True,
    "use_activation": False,
}
COHERE = {"input_type": "search_query"}


def _cases() -> Iterator[tuple[str, Body, list[str], Any]]:
    for path, body, fields, _ in ROUTES:
        for names in SPELLINGS[fields.operation]:
            aliases = aliases_of(fields.model_fields, fields.operation)
            read = [name for name in names if name in fields.model_fields or name in aliases]
            if len(read) > 1:
                value = COHERE.get(names[0]) if path.endswith("/embed") and names[0] in COHERE else SENT[names[0]]
                yield path, body, read, value


def _content(answer: httpx.Response) -> Any:
    body = answer.json()
    return {name: body[name] for name in body if name not in ("id", "created")} if isinstance(body, dict) else body


async def test_all_names_of_a_field_have_the_same_effect(embedder: ServedModel, reranker: ServedModel) -> None:
    wrong, cases = [], list(_cases())
    async with in_process_server(embedder, reranker) as here:
        for path, body, names, value in cases:
            answers = [await here.client.post(path, json={**body, name: value}) for name in names]
            for name, answer in zip(names, answers, strict=True):
                is_same = answer.status_code == 200 and _content(answer) == _content(answers[0])
                if not is_same or "x-hearth-ignored-fields" in answer.headers:
                    wrong.append((path, name, answer.status_code, answer.text[:200]))

    assert wrong == []
    assert {first_spelling(names[0], "embeddings") for _, _, names, _ in cases} >= {"dimensions", "truncate"}


@pytest.mark.parametrize("path", ["/embed", "/v2/embed", "/v1/embeddings"])
async def test_two_names_with_two_values_are_refused(embedder: ServedModel, path: str) -> None:
    body = {"/embed": {"inputs": "a"}, "/v2/embed": {"texts": ["a"]}, "/v1/embeddings": {"input": "a"}}[path]

    async with in_process_server(embedder) as here:
        answer = await here.client.post(path, json={**body, "dimensions": 4, "truncate_dim": 5})

    assert answer.status_code == 400
    assert "another name" in answer.text
