"""Which added tokens of a vocabulary are words that users may write, and which are control tokens that they may not."""

import re
from collections.abc import Callable

from models.checkpoint.files import JsonObject
from models.checkpoint.folder import Checkpoint
from models.checkpoint.kind import ENCODERS, is_classifier

# Says of an entry of added_tokens in tokenizer.json whether it stays a token in text that users send.
WordRule = Callable[[JsonObject], bool]

SPACES = " \t\r\n\u2581"
# Forms of control tokens: Qwen's, Llama's and GPT's; DeepSeek's, with a wide bar.
_CONTROL = re.compile(r"<[|｜].*[|｜]>|<unused\d+>|\[unused\d+\]|<(start|end)_of_\w+>")
# Qwen3's added tokens that no flag marks as special, and that its chat template need not hold.
_CHAT = {"<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"}


def is_spaces(token: JsonObject) -> bool:
    """Whether an added token is white space: GPT-NeoX's and Gemma's vocabularies hold runs of spaces this way."""
    return not str(token["content"]).strip(SPACES)


def word_rule(checkpoint: Checkpoint) -> WordRule:
    """The rule of one checkpoint.

    A word is a token that is not marked as special, or that stands in the model's own prompts; for an encoder that
    embeds also the separator, which stands between a title and a text. No token of a chat is a word.
    """
    prompts = "\n".join(checkpoint.prompts.values())
    separator = _separator(checkpoint)

    def is_word(token: JsonObject) -> bool:
        content = str(token["content"])
        if is_spaces(token) or content == separator:
            return True
        if content in _CHAT or _CONTROL.fullmatch(content) or content in checkpoint.chat_template:
            return False
        return not token.get("special") or content in prompts

    return is_word


def _separator(checkpoint: Checkpoint) -> str | None:
    if checkpoint.model_type not in ENCODERS or is_classifier(checkpoint, "reranker"):
        return None
    token = checkpoint.tokenizer_config.get("sep_token")
    content = token.get("content") if isinstance(token, dict) else token
    # </s> ends a text of RoBERTa too, and its authors put it between no two.
    return content if content == "[SEP]" else None
