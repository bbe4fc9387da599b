"""A tokenizer.json for what users send: the same vocabulary, out of which no text makes a control token."""

from typing import Any

JsonObject = dict[str, Any]

SPACES = " \t\r\n\u2581"


def is_text(token: str) -> bool:
    """Whether an added token is ordinary text: GPT-NeoX's and Gemma's vocabularies hold runs of spaces in this way."""
    return not token.strip(SPACES)


def without_control_tokens(document: JsonObject) -> JsonObject:
    """The tokenizer.json with its control tokens out of reach of any text."""
    added = document.get("added_tokens") or []
    control = {token["content"] for token in added if not is_text(token["content"])}
    # The switch encode_special_tokens leaves <think> and its like as control tokens (tokenizers 0.23.3).
    kept = [token for token in added if token["content"] not in control]
    return document | {"added_tokens": kept, "model": _unreachable(document["model"], control)}


def unknown_token(model: JsonObject) -> str | None:
    """The token that stands for whatever a vocabulary lacks."""
    if model.get("unk_id") is not None:
        return str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token")


def _unreachable(model: JsonObject, control: set[str]) -> JsonObject:
    if "unk_id" not in model:
        return model
    # A Unigram vocabulary lists </s> as a piece like any other. Behind Metaspace no text holds a space.
    return model | {"vocab": [[f"{piece} " if piece in control else piece, score] for piece, score in model["vocab"]]}
