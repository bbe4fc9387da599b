"""`messages` as vLLM reads it for embeddings: one conversation, or a list of conversations."""

from collections.abc import Mapping
from typing import Any

from server.api.fields.unsupported import TEXT_ONLY
from server.errors import ArrayTooLong, EmptyArray, InvalidValue
from server.processing.requests import ChatMessage, Chats
from server.serialization import JsonObject

# A template looks at each message several times, and no embedder reads a longer conversation.
MAX_MESSAGES = 1000
_MESSAGE = "expected an object with a string 'role' and 'content', which is a string or a list of parts."


def read_messages(
    value: Any, variables: Mapping[str, Any], *, field: str = "messages", add_special_tokens: bool = False
) -> Chats:
    """The conversations that the field holds; `variables` are those of the chat template.

    Raises: ApiError: empty, too long, or no conversation of texts.
    """
    if not isinstance(value, list):
        raise InvalidValue(field, "expected a list of messages, or a list of such lists.")
    if not value:
        raise EmptyArray(field)
    if isinstance(value[0], list):
        chats = tuple(_conversation(chat, f"{field}[{index}]") for index, chat in enumerate(value))
        return Chats(chats, variables, add_special_tokens, is_list=True, field=field)
    return Chats((_conversation(value, field),), variables, add_special_tokens, is_list=False, field=field)


def are_messages(value: Any) -> bool:
    """Whether an `input` holds messages, which vLLM accepts there too."""
    first = value[0] if isinstance(value, list) and value else None
    first = first[0] if isinstance(first, list) and first else first
    return isinstance(first, dict) and "role" in first and "content" in first


def _conversation(value: Any, where: str) -> tuple[ChatMessage, ...]:
    if not isinstance(value, list):
        raise InvalidValue(where, "expected a list of messages, like the first.")
    if not value:
        raise EmptyArray(where)
    if len(value) > MAX_MESSAGES:
        raise ArrayTooLong(where, MAX_MESSAGES, len(value))
    return tuple(_message(message, f"{where}[{index}]") for index, message in enumerate(value))


def _message(value: Any, where: str) -> ChatMessage:
    role, content = (value.get("role"), value.get("content")) if isinstance(value, dict) else (None, None)
    if not isinstance(role, str) or not isinstance(content, str | list):
        raise InvalidValue(where, _MESSAGE)
    # vLLM joins the parts of a text by line breaks.
    text = content if isinstance(content, str) else "\n".join(_text(part, where) for part in content)
    return {"role": role, "content": text}


def _text(part: JsonObject | Any, where: str) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) and part.get("type", "text") == "text" else None
    if not isinstance(text, str):
        raise InvalidValue(where, f"expected parts of type 'text' with a string 'text': {TEXT_ONLY}.")
    return text
