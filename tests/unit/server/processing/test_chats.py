"""Vectors of conversations, by the model's chat template."""

from dataclasses import replace
from typing import Any

import pytest

from models import ChatTemplate, Preprocessor
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server, served

TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<|im_start|>{{ message.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}:{% endif %}"
)
USER = {"role": "user", "content": "a"}


@pytest.fixture
def chatty(embedder_text: Preprocessor) -> ServedModel:
    """An embedder with a chat template."""
    template = ChatTemplate(embedder_text.tokenizer, TEMPLATE, {})
    return served(replace(embedder_text, chat=template), "embedder", prompt_name="query")


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 3),
        ({"add_generation_prompt": True}, 4),
        ({"add_special_tokens": True}, 4),
        ({"messages": [USER, USER]}, 6),
        ({"messages": [[USER], [USER, USER]]}, 9),
        ({"truncate_prompt_tokens": 2}, 2),
    ],
)
async def test_the_prompt_is_the_template_alone(chatty: ServedModel, fields: dict[str, Any], tokens: int) -> None:
    async with in_process_server(chatty) as here:
        answer = await here.client.post("/v1/embeddings", json={"messages": [USER], **fields})

    assert answer.json()["usage"]["prompt_tokens"] == tokens
    assert "x-hearth-ignored-fields" not in answer.headers


async def test_a_model_without_a_template_reads_single_messages_as_texts(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        texts = await here.embed(["a", "b"])
        chats = await here.client.post(
            "/v1/embeddings", json={"messages": [[USER], [{"role": "user", "content": "b"}]]}
        )

    assert chats.json()["data"] == texts.json()["data"]
    assert chats.json()["usage"] == texts.json()["usage"]


@pytest.mark.parametrize(
    ("model", "messages", "reason"),
    [
        (
            "embedder",
            [USER, USER],
            "Invalid 'messages': this model has no chat template, so it reads one message; got 2.",
        ),
        ("embedder", [[USER], [USER, USER]], "Invalid 'messages[1]': this model has no chat template"),
        ("chatty", [{"role": "tool", "content": "a"}], "does not take these messages: no tools"),
        ("chatty", [{"role": "user", "content": "a" * 2000}], "2002 tokens"),
    ],
)
async def test_what_the_template_does_not_take_is_400(
    embedder: ServedModel, chatty: ServedModel, model: str, messages: list[Any], reason: str
) -> None:
    async with in_process_server(embedder if model == "embedder" else chatty) as here:
        answer = await here.client.post("/v1/embeddings", json={"messages": messages})

    assert answer.status_code == 400
    assert reason in answer.json()["message"]
    assert here.backend.batches == []
