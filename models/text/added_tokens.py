"""Which added tokens of a vocabulary are words that users may write, and which are control tokens that they may not."""

import re
from collections.abc import Callable, Collection, Iterable

from models.checkpoint.files import JsonObject
from models.checkpoint.folder import Checkpoint
from models.checkpoint.kind import ENCODERS, FRAME_TOKENS, is_classifier

# Says of an entry of added_tokens in tokenizer.json whether it stays a token in text that users send.
WordRule = Callable[[JsonObject], bool]

SPACES = " \t\r\n\u2581"
# Forms of control tokens: Qwen's, Llama's and GPT's; DeepSeek's, with a wide bar.
_CONTROL = re.compile(r"<[|｜].*[|｜]>|<unused\d+>|\[unused\d+\]|<(start|end)_of_\w+>")
# Qwen3's added tokens that no flag marks as special, and that its chat template need not hold.
_CHAT = {"<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"}


def spelling_pattern(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that finds any of the tokens in a text; None without tokens.

    It shares beginnings, so that a text of many < or [ costs no try for each token of a large vocabulary.
    """
    root = _Trie()
    for token in tokens:
        node = root
        for character in token:
            node = node.setdefault(character, _Trie())
        node[""] = _Trie()
    return re.compile(_alternatives(root)) if root else None


class _Trie(dict[str, "_Trie"]):
    """Characters and what may follow them; "" where a token ends."""


def _alternatives(node: _Trie) -> str:
    # The shortest token at a place is enough: the question is whether there is one.
    if "" in node:
        return ""
    parts = [re.escape(character) + _alternatives(after) for character, after in node.items()]
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def is_spaces(token: JsonObject) -> bool:
    """Whether an added token is white space: GPT-NeoX's and Gemma's vocabularies hold runs of spaces this way."""
    return not str(token["content"]).strip(SPACES)


def word_rule(checkpoint: Checkpoint, configured: Collection[str] | None = None) -> WordRule:
    """The rule of one checkpoint; `configured` are the control tokens that the operator lists, if there is a list.

    A word is a token that is not marked as special, or that stands in the model's own prompts; for an encoder that
    embeds also the separator, which stands between a title and a text. No token of a chat is a word.
    """
    if configured is not None:
        # A reranker's prompt must stay out of reach whatever is listed.
        control = {*configured, *FRAME_TOKENS}
        return lambda token: is_spaces(token) or token["content"] not in control
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
