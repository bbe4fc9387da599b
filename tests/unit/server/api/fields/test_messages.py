"""`messages` on embeddings routes, as vLLM and mteb send it."""

from typing import Any

import pytest

from server.api.dialects.embeddings import parse_embeddings
from server.api.fields.messages import MAX_MESSAGES
from server.errors import ApiError
from server.processing.requests import Chats

USER = {"role": "user", "content": "a"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}


def _parse(**body: Any) -> Chats:
    inputs = parse_embeddings(body, normalize=True).request.input
    assert isinstance(inputs, Chats)
    return inputs


@pytest.mark.parametrize("field", ["messages", "input"])
@pytest.mark.parametrize(
    ("value", "texts", "is_list"),
    [
        ([USER], [["a"]], False),
        ([USER, PARTS], [["a", "a\nb"]], False),
        ([[USER], [PARTS, USER]], [["a"], ["a\nb", "a"]], True),
    ],
)
def test_it_is_one_conversation_or_a_list_of_them(
    field: str, value: list[Any], texts: list[list[str]], is_list: bool
) -> None:
    chats = _parse(**{field: value})

    assert [[message["content"] for message in chat] for chat in chats.values] == texts
    assert (chats.is_list, chats.field, chats.add_special_tokens) == (is_list, field, False)


def test_the_template_gets_its_variables() -> None:
    chats = _parse(
        messages=[USER], add_generation_prompt=True, add_special_tokens=True, chat_template_kwargs={"topic": "b"}
    )

    assert chats.variables == {"topic": "b", "add_generation_prompt": True}
    assert chats.add_special_tokens


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "input", "Missing required parameter: 'input'."),
        ({"messages": []}, "messages", "empty array"),
        ({"messages": [[]]}, "messages", "Invalid 'messages[0]': empty array"),
        ({"messages": [[USER], USER]}, "messages", "Invalid 'messages[1]'"),
        ({"messages": ["a"]}, "messages", "a string 'role'"),
        ({"messages": [{"role": "user"}]}, "messages", "a string 'role'"),
        ({"messages": [{"role": 1, "content": "a"}]}, "messages", "a string 'role'"),
        ({"messages": [USER, IMAGE]}, "messages", "Invalid 'messages[1]': expected parts of type 'text'"),
        ({"messages": [USER] * (MAX_MESSAGES + 1)}, "messages", "array too long"),
        ({"messages": [USER], "input": "a"}, "messages", "not both"),
        ({"messages": [USER], "prompt_template": "{text}"}, "prompt_template", "the model's own chat template"),
        ({"messages": [USER], "chat_template": "x"}, "chat_template", "not supported"),
        ({"messages": [USER], "continue_final_message": True}, "continue_final_message", "not supported"),
        ({"input": "a", "add_special_tokens": False}, "add_special_tokens", "not supported"),
    ],
)
def test_what_is_no_conversation_of_texts_is_refused(body: dict[str, Any], param: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_embeddings(body, normalize=True)

    assert caught.value.param == param
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("body", "ignored"),
    [
        ({"messages": [USER], "prompt_name": "query", "input_type": "query"}, ["prompt_name", "input_type"]),
        ({"messages": [USER], "add_generation_prompt": False}, []),
        ({"input": "a", "add_generation_prompt": True}, ["add_generation_prompt"]),
        ({"input": "a", "chat_template_kwargs": {"a": 1}}, ["chat_template_kwargs"]),
        ({"input": "a", "messages": [], "add_generation_prompt": False, "add_special_tokens": True}, []),
    ],
)
def test_fields_of_the_other_form_are_named(body: dict[str, Any], ignored: list[str]) -> None:
    assert parse_embeddings(body, normalize=True).ignored == ignored
