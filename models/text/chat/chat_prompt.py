"""Builds a reranker's prompt from its chat template, split once at load, so that no text can add control tokens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.checkpoint.folder import Checkpoint
from models.interface import Ids, ModelError
from models.text.chat.chat_template import named_special_tokens, split_control
from models.text.chat.template_renderer import ChatTemplateError, fill_within_limits
from models.text.long_text import TextIds, TextLimit
from models.text.tokenizer import Tokenizer

Sample = tuple[str | None, str, str]


def render(checkpoint: Checkpoint, samples: Sequence[Sample]) -> list[str]:
    """The prompt of each (instruction, query, document), as sentence-transformers' CrossEncoder renders them.

    Raises: ModelError: the template fails, or takes too much time or memory.
    """
    settings = (checkpoint.transformer_module_config.get("processing_kwargs") or {}).get("chat_template") or {}
    try:
        variables = named_special_tokens(checkpoint) | settings
        return fill_within_limits(checkpoint.chat_template, [_conversation(*sample) for sample in samples], variables)
    except ChatTemplateError as error:
        raise ModelError(
            f"{checkpoint.path} has a chat template that fails on a query and document: {error}"
        ) from error


def _conversation(instruction: str | None, query: str, document: str) -> list[dict[str, str]]:
    system = [{"role": "system", "content": instruction}] if instruction else []
    return [*system, {"role": "query", "content": query}, {"role": "document", "content": document}]


# Placeholders for the texts in a rendered prompt: private-use characters, which no template contains.
INSTRUCTION_MARK, QUERY_MARK, DOCUMENT_MARK = "\ue000", "\ue001", "\ue002"
# For these samples, a prompt built from pieces must equal the rendered template.
CHAT_SAMPLES = (
    ("Find it", "What is the capital of France?", "Paris is the capital of France."),
    ("Judge (twice).", "a", "naïve café 🙂"),
    ("x", "日本語のテキスト", "مرحبا بالعالم"),
)


@dataclass(frozen=True, slots=True)
class PromptHead:
    """Everything before the document: text with placeholders, and the space, if any, that joins the document's text."""

    text: str
    lead: str


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A RerankPrompt from a chat template; `instructed` is None if the template shows no instruction."""

    tokenizer: Tokenizer
    bare: PromptHead
    instructed: PromptHead | None
    suffix: Ids
    # Empty, because a template has its own default.
    default_instruction: str = ""
    separator: int | None = None

    @property
    def takes_instruction(self) -> bool:
        return self.instructed is not None

    def head(self, instruction: str, query: str, limit: TextLimit | None = None) -> Ids:
        """The template up to the document, filled with the query, and with the instruction if there is one."""
        head = self.instructed if instruction and self.instructed else self.bare
        texts = {INSTRUCTION_MARK: instruction, QUERY_MARK: query}
        pieces = [self._ids(piece, texts, limit) for piece in split_control(self.tokenizer, head.text)]
        return np.concatenate(pieces)

    def documents(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each document, with the space before it where the template has one."""
        return self.tokenizer.encode([self.bare.lead + text for text in texts])

    def read_documents(self, texts: Sequence[str], limit: TextLimit) -> TextIds:
        """Like documents(), as far as the limit says."""
        return self.tokenizer.encode_within([self.bare.lead + text for text in texts], limit)

    def join(self, head: Ids, document: Ids) -> Ids:
        """One complete prompt."""
        return np.concatenate((head, document, self.suffix))

    def _ids(self, piece: str, texts: dict[str, str], limit: TextLimit | None) -> Ids:
        if piece in self.tokenizer.added:
            return np.array([self.tokenizer.added[piece]], dtype=np.int32)
        # In one pass, so that a placeholder inside a query stays as it is.
        filled = re.sub(f"[{INSTRUCTION_MARK}{QUERY_MARK}]", lambda mark: texts[mark[0]], piece)
        return self.tokenizer.encode_one(filled, limit)


def chat_prompt(checkpoint: Checkpoint, tokenizer: Tokenizer) -> ChatPrompt:
    """Split the template, and check on samples that the pieces give the ids of the rendered template.

    Raises: ModelError: they do not, or the template does not show one query and then one document.
    """
    with_instruction, without = render(
        checkpoint, [(INSTRUCTION_MARK, QUERY_MARK, DOCUMENT_MARK), (None, QUERY_MARK, DOCUMENT_MARK)]
    )
    bare, tail = _cut(checkpoint, without)
    instructed = None
    if with_instruction.count(INSTRUCTION_MARK) == 1:
        instructed, other_tail = _cut(checkpoint, with_instruction)
        if (instructed.lead, other_tail) != (bare.lead, tail):
            raise ModelError(f"{checkpoint.path} has a chat template whose end depends on the instruction")
    prompt = ChatPrompt(tokenizer, bare, instructed, tokenizer.encode_control(tail))
    samples: list[Sample] = [(None, query, document) for _, query, document in CHAT_SAMPLES]
    samples += CHAT_SAMPLES if instructed else ()
    for (instruction, query, document), text in zip(samples, render(checkpoint, samples), strict=True):
        joined = prompt.join(prompt.head(instruction or "", query), prompt.documents([document])[0])
        if not np.array_equal(joined, tokenizer.encode_control(text)):
            raise ModelError(f"{checkpoint.path} has a chat template that cannot be split at its texts")
    return prompt


def _cut(checkpoint: Checkpoint, text: str) -> tuple[PromptHead, str]:
    if (text.count(QUERY_MARK), text.count(DOCUMENT_MARK)) != (1, 1) or text.index(QUERY_MARK) > text.index(
        DOCUMENT_MARK
    ):
        raise ModelError(f"{checkpoint.path} must have a chat template with one query and then one document")
    before, after = text.split(DOCUMENT_MARK)
    # A space before a word belongs to its first token.
    lead = " " if before.endswith(" ") else ""
    return PromptHead(before.removesuffix(lead), lead), after
