"""The Qwen3 reranker's prompt, built from ids, so that no user text can end it early or add control tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.interface import Ids, ModelError, Side
from models.text.long_text import TextIds, TextLimit
from models.text.tokenizer import Tokenizer

# Qwen3-Embedding README, "Transformers usage" of the rerankers. Single newlines: its vLLM snippet has two.
FRAME_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
FRAME_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
DEFAULT_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
FRAME_START = "<|im_start|>"

# FRAME_SUFFIX in Qwen3's vocabulary. With one newline less it ends in 198, and scores are wrong but plausible.
QWEN3_VOCABULARY = 151643
QWEN3_SUFFIX = [151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]
QWEN3_NO_YES = (2152, 9693)

# Query and document for which the pieces must give the ids of the whole prompt, checked when a model loads: texts whose
# first or last characters a tokenizer might join with the frame.
PROMPT_SAMPLES = (
    ("What is the capital of France?", "Paris is the capital of France."),
    ("", ""),
    (" a ", " a "),
    ("\na\n", "\n\na\n\n"),
    ("日本語\t", "\tمرحبا "),
    (">", "<"),
)

# The markers of a bare body, in order.
_INSTRUCT, _QUERY, _DOCUMENT = "<Instruct>: ", "\n<Query>: ", "\n<Document>:"


@dataclass(frozen=True, slots=True)
class Qwen3RerankPrompt:
    """A RerankPrompt whose head begins with `prefix`. `prefix` and `suffix` are together the frame around a body."""

    tokenizer: Tokenizer
    prefix: Ids
    suffix: Ids
    no: int
    yes: int
    takes_instruction: bool = True
    default_instruction: str = DEFAULT_INSTRUCTION
    separator: int | None = None

    def head(self, instruction: str, query: str, limit: TextLimit | None = None) -> Ids:
        """The prefix, the instruction and the query, up to `<Document>:`."""
        text = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>:"
        return np.concatenate((self.prefix, self.tokenizer.encode_one(text, limit)))

    def documents(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each document after `<Document>:`. Splitting there gives the ids of the whole body."""
        return self.tokenizer.encode([" " + text for text in texts])

    def read_documents(self, texts: Sequence[str], limit: TextLimit) -> TextIds:
        """Like documents(), as far as the limit says."""
        return self.tokenizer.encode_within([" " + text for text in texts], limit)

    def join(self, head: Ids, document: Ids) -> Ids:
        """One complete prompt, frame included."""
        return np.concatenate((head, document, self.suffix))

    def needs_frame(self, text: str) -> bool:
        """Whether a text sent to return_logits is the bare body of the official prompt."""
        return _head_end(text) is not None

    def split_bodies(self, texts: Sequence[str], limit: TextLimit) -> "list[SplitBody]":
        """Bare bodies in two, so that a cut takes from the document alone.

        The document begins after the first `<Document>:` after the query line; the ids are those of the whole body.
        """
        heads = self.tokenizer.encode_within([_head_of(text) for text in texts], replace(limit, side="right"))
        bodies = self.tokenizer.encode_within(texts, limit)
        return [
            self._split(head, body, limit.side, is_whole=index not in bodies.partial)
            for index, (head, body) in enumerate(zip(heads.ids, bodies.ids, strict=True))
        ]

    def _split(self, head: Ids, body: Ids, side: Side, *, is_whole: bool) -> "SplitBody":
        # The last ids of a body that is too long for the limit are all of its document, of which fewer fit.
        start = len(head) if is_whole or side == "right" else 0
        return SplitBody(np.concatenate((self.prefix, head if start == 0 else body[:start])), body[start:], is_whole)


@dataclass(frozen=True, slots=True)
class SplitBody:
    """The ids of a bare body: the head with the prefix before it, and the document, of which a part may be missing."""

    head: Ids
    document: Ids
    is_whole: bool


def is_complete_prompt(text: str) -> bool:
    """Whether a text sent to return_logits is a whole prompt, whose control tokens are parsed."""
    return text.startswith(FRAME_START)


def qwen3_rerank_prompt(tokenizer: Tokenizer) -> Qwen3RerankPrompt:
    """Build the frame from ids and check it, once, when a model loads.

    Raises: ModelError: the tokenizer changes the frame or joins it with a text, or "yes"/"no" are not single tokens.
    """
    if FRAME_START not in tokenizer.added:
        raise ModelError(f"the tokenizer has no token for the rerank prompt's {FRAME_START}")
    prefix, suffix = tokenizer.encode_control(FRAME_PREFIX), tokenizer.encode_control(FRAME_SUFFIX)
    no, yes = tokenizer.single("no"), tokenizer.single("yes")
    for name, text, ids in (("prefix", FRAME_PREFIX, prefix), ("suffix", FRAME_SUFFIX, suffix)):
        if tokenizer.decode(ids) != text:
            raise ModelError(f"the tokenizer changes the rerank prompt's {name}: {tokenizer.decode(ids)!r}")
    if tokenizer.added[FRAME_START] > QWEN3_VOCABULARY:
        _check_qwen3_ids(suffix, (no, yes))
    prompt = Qwen3RerankPrompt(tokenizer, prefix, suffix, no, yes)
    for query, document in PROMPT_SAMPLES:
        whole = f"{FRAME_PREFIX}{prompt_body(DEFAULT_INSTRUCTION, query, document)}{FRAME_SUFFIX}"
        joined = prompt.join(prompt.head(DEFAULT_INSTRUCTION, query), prompt.documents([document])[0])
        if not np.array_equal(joined, tokenizer.encode_control(whole)):
            raise ModelError(
                "the tokenizer joins the rerank prompt with the texts in it, which is not supported, for example with "
                f"the query {query!r} and the document {document!r}"
            )
    return prompt


def prompt_body(instruction: str, query: str, document: str) -> str:
    """The prompt between prefix and suffix."""
    return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"


def _head_of(text: str) -> str:
    end = _head_end(text)
    assert end is not None, "split_bodies() takes only texts for which needs_frame() holds"
    return text[:end]


def _head_end(text: str) -> int | None:
    """Where the first `<Document>:` after the first query ends; None in a text of another form."""
    # By find(), not by a pattern: two lazy quantifiers take time that is quadratic in a text without the last marker.
    query = text.find(_QUERY, len(_INSTRUCT)) if text.startswith(_INSTRUCT) else -1
    document = text.find(_DOCUMENT, query + len(_QUERY)) if query >= 0 else -1
    return document + len(_DOCUMENT) if document >= 0 else None


def _check_qwen3_ids(suffix: Ids, no_yes: tuple[int, int]) -> None:
    if suffix.tolist() != QWEN3_SUFFIX or no_yes != QWEN3_NO_YES:
        raise ModelError(
            f"the tokenizer is not Qwen3's; expected suffix {QWEN3_SUFFIX} and no, yes {QWEN3_NO_YES}, "
            f"got {suffix.tolist()} and {no_yes}"
        )
