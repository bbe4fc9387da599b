"""The input of a cross-encoder: query and document as its tokenizer joins them, built from ids of user text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.interface import Ids, ModelError
from models.text.long_text import TextIds, TextLimit
from models.text.tokenizer import Tokenizer

# Pairs for which the pieces must give the tokenizer's own ids, checked when a model loads.
PAIR_SAMPLES = (
    ("What is the capital of France?", "Paris is the capital of France."),
    ("a", ""),
    ("", "naïve café"),
    ("  spaces  at both ends ", " (and) brackets\n"),
    ("日本語のテキスト", "مرحبا بالعالم 🙂"),
)


@dataclass(frozen=True, slots=True)
class PairPrompt:
    """A RerankPrompt: before + query + between + document + suffix."""

    tokenizer: Tokenizer
    before: Ids
    between: Ids
    suffix: Ids
    separator: int | None = None
    takes_instruction: bool = False
    default_instruction: str = ""

    def head(self, instruction: str, query: str, limit: TextLimit | None = None) -> Ids:
        """Everything before the document; the instruction is ignored, because such networks are trained without one."""
        return np.concatenate((self.before, self.tokenizer.encode_one(query, limit), self.between))

    def documents(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each document, without special tokens."""
        return self.tokenizer.encode(texts)

    def read_documents(self, texts: Sequence[str], limit: TextLimit) -> TextIds:
        """Like documents(), as far as the limit says."""
        return self.tokenizer.encode_within(texts, limit)

    def join(self, head: Ids, document: Ids) -> Ids:
        """One complete pair."""
        return np.concatenate((head, document, self.suffix))


def pair_prompt(tokenizer: Tokenizer, *, has_types: bool) -> PairPrompt:
    """Split the post-processor's pair, and check on samples that the pieces give the same ids.

    Args:
        tokenizer: of the checkpoint.
        has_types: whether the network knows more than one token type.

    Raises: ModelError: they do not, or token types do not change right after the first text.
    """
    pair = tokenizer.encode_pair("a", "b")
    ids, places = np.array(pair.ids, dtype=np.int32), pair.sequence_ids
    first, second = places.index(0), places.index(1)
    between = len(places) - places[::-1].index(0)
    after = len(places) - places[::-1].index(1)
    prompt = PairPrompt(tokenizer, ids[:first], ids[between:second], ids[after:])
    for query, document in PAIR_SAMPLES:
        joined = prompt.join(prompt.head("", query), prompt.documents([document])[0])
        if joined.tolist() != tokenizer.encode_pair(query, document).ids:
            raise ModelError(
                f"the tokenizer joins a pair in a way that is not supported, for example with the query {query!r}"
            )
    separator = _separator(pair.type_ids, between, ids) if has_types else None
    return replace(prompt, separator=separator)


def _separator(types: list[int], between: int, ids: Ids) -> int | None:
    if not any(types):
        return None
    if types != [0] * (between + 1) + [1] * (len(types) - between - 1):
        raise ModelError(f"the tokenizer gives a pair token types that are not supported: {types}")
    return int(ids[between])
