"""What the benchmarks run: texts with lengths as users send them, and their token ids. Knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]

# In the vocabularies of benchmarks/support/checkpoints.py each letter is one token, so that lengths are exact.
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# The token that ends each text, after the 256 bytes.
TERMINATOR, TERMINATOR_ID = "<|endoftext|>", 256
# Qwen3-Reranker's prompt, the instruction and a short query.
HEAD_TOKENS = 90
MAX_TOKENS = 512


@dataclass(frozen=True)
class Workload:
    """The texts of one request. A text has one token for each letter, and the terminator."""

    name: str
    texts: Sequence[str]
    ids: Sequence[Ids]

    @property
    def tokens(self) -> int:
        """The number of tokens in all texts; a shared prefix counts in each of them."""
        return sum(len(ids) for ids in self.ids)


def uniform(texts: int = 16, tokens: int = 128) -> Workload:
    """Texts of one length."""
    return _workload(f"uniform, {texts} x {tokens}", _letters([tokens] * texts, seed=0))


def mixed(seed: int, texts: int = 64) -> Workload:
    """Texts of log-normal lengths: the median is 60 tokens, the maximum 512."""
    return _workload(f"mixed, seed {seed}", _letters(_mixed_lengths(seed, texts), seed))


def spaced(seed: int, texts: int = 64) -> list[str]:
    """Texts of the same lengths for a WordPiece vocabulary, [CLS] and [SEP] included: words of one letter."""
    return [" ".join(text) for text in _letters([length - 1 for length in _mixed_lengths(seed, texts)], seed)]


def rerank(documents: int = 100, *, shared: bool = True) -> Workload:
    """One query and its documents, each document after the query.

    Args:
        documents: how many.
        shared: False gives each document a head of its own with as many tokens, so that no prefix is shared.
    """
    lengths = np.random.default_rng(1).lognormal(np.log(54), 0.5, documents)
    bodies = _letters(np.clip(lengths, 8, 256).astype(int).tolist(), seed=1)
    heads = _letters([HEAD_TOKENS + 1] * (1 if shared else documents), seed=2)
    texts = [heads[number % len(heads)] + body for number, body in enumerate(bodies)]
    return _workload("rerank, 1 x 100" if shared else "rerank, nothing shared", texts)


def query(tokens: int) -> Workload:
    """One short text."""
    return _workload(f"one query of {tokens}", _letters([tokens], seed=3))


def _mixed_lengths(seed: int, texts: int) -> list[int]:
    lengths = np.random.default_rng(seed).lognormal(np.log(60), 0.8, texts)
    return [int(length) for length in np.clip(lengths, 4, MAX_TOKENS)]


def _letters(lengths: Sequence[int], seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(random.choice(list(LETTERS), length - 1)) for length in lengths]


def _workload(name: str, texts: Sequence[str]) -> Workload:
    # The byte-level vocabulary keeps the order of printable bytes, and "!" is id 0.
    ids = [np.array([*(ord(letter) - ord("!") for letter in text), TERMINATOR_ID], dtype=np.int32) for text in texts]
    return Workload(name, texts, ids)
