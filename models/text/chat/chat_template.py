"""A model's own chat template: a conversation becomes one prompt, to which no message can add control tokens."""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.checkpoint.folder import Checkpoint
from models.interface import Ids
from models.text.chat.template_renderer import fill_chat_template
from models.text.long_text import TextLimit
from models.text.tokenizer import Tokenizer

NAMED_SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")
# Around the number of a piece of users' text that spells a control token, while a template is rendered.
_OPEN, _CLOSE = "\ue000", "\ue001"
_HIDDEN = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


def named_special_tokens(checkpoint: Checkpoint) -> dict[str, str]:
    """The special tokens that a template may name, such as bos_token."""
    tokens = {name: checkpoint.tokenizer_config.get(name) for name in NAMED_SPECIAL_TOKENS}
    contents = {name: token.get("content") if isinstance(token, dict) else token for name, token in tokens.items()}
    return {name: content for name, content in contents.items() if isinstance(content, str)}


def split_control(tokenizer: Tokenizer, text: str) -> list[str]:
    """Split a prompt's text into control tokens and the texts between them."""
    if not tokenizer.added:
        return [text]
    return [piece for piece in re.split(f"({'|'.join(_patterns(tokenizer.added))})", text) if piece]


def _patterns(tokens: Iterable[str]) -> list[str]:
    return [re.escape(token) for token in sorted(tokens, key=len, reverse=True)]


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """One model's chat template. Any thread."""

    tokenizer: Tokenizer
    source: str
    special_tokens: Mapping[str, str]

    def encode(
        self, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any], limit: TextLimit
    ) -> tuple[Ids, bool]:
        """The ids of the rendered conversation, as far as the limit says, and whether these are all.

        `variables` are the template's own, such as add_generation_prompt. Spellings of control tokens in them and in
        the messages are ordinary text. The tokens that the tokenizer adds to a text are not there.

        Raises: ChatTemplateError: the template does not take these messages. What `limit.between` raises.
        """
        hidden: list[str] = []
        hide = _Hide(re.compile("|".join(_patterns([*self.tokenizer.added, _OPEN, _CLOSE]))), hidden)
        safe_messages, safe_variables = hide.all_of(list(messages)), hide.all_of(dict(variables))
        text = fill_chat_template(self.source, safe_messages, {**safe_variables, **self.special_tokens})
        if hidden:
            return self._encode_pieces(text, hidden, limit)
        read = self.tokenizer.encode_control_within([text], limit)
        return read.ids[0], not read.partial

    def _encode_pieces(self, text: str, hidden: Sequence[str], limit: TextLimit) -> tuple[Ids, bool]:
        # As a whole, the tokenizer would find the control tokens of users' text again.
        pieces = deque(split_control(self.tokenizer, text))
        rows, tokens, is_whole = list[Ids](), 0, True
        while pieces and is_whole and tokens <= limit.max_tokens:
            piece = pieces.popleft() if limit.side == "right" else pieces.pop()
            row, is_whole = self._piece(piece, hidden, limit)
            rows.append(row)
            tokens += len(row)
        in_order = rows if limit.side == "right" else rows[::-1]
        return np.concatenate([np.array([], dtype=np.int32), *in_order]), is_whole and not pieces

    def _piece(self, piece: str, hidden: Sequence[str], limit: TextLimit) -> tuple[Ids, bool]:
        if piece in self.tokenizer.added:
            return np.array([self.tokenizer.added[piece]], dtype=np.int32), True
        read = self.tokenizer.encode_within([_HIDDEN.sub(lambda mark: hidden[int(mark[1])], piece)], limit)
        return read.ids[0], not read.partial


@dataclass(frozen=True, slots=True)
class _Hide:
    """Replaces what a template's text must not contain by numbered marks, in any nesting of lists and objects."""

    pattern: re.Pattern[str]
    hidden: list[str]

    def all_of(self, value: Any) -> Any:
        match value:
            case str():
                return self.pattern.sub(self._mark, value)
            case list():
                return [self.all_of(item) for item in value]
            case dict():
                return {name: self.all_of(item) for name, item in value.items()}
            case _:
                return value

    def _mark(self, match: re.Match[str]) -> str:
        self.hidden.append(match[0])
        return f"{_OPEN}{len(self.hidden) - 1}{_CLOSE}"
