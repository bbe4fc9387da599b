"""What the benchmarks run: texts whose lengths follow what people send, and their token ids. No models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]

# In the byte-level vocabulary of the benchmarks each of these letters is one token: lengths are exact.
LETTERS = "abcdefghijklmpqrstuvwxz"
# Qwen3-Reranker's frame, the instruction and a short query.
HEAD_TOKENS = 90


@dataclass(frozen=True)
class Workload:
    """Texts of one request. Each takes one token a letter, and one for the terminator."""

    name: str
    texts: Sequence[str]
    ids: Sequence[Ids]

    @property
    def tokens(self) -> int:
        """Tokens in all, shared ones counted each time."""
        return sum(len(ids) for ids in self.ids)


def uniform(texts: int = 16, tokens: int = 128) -> Workload:
    """Texts of one length."""
    return _workload(f"uniform, {texts} x {tokens}", _letters([tokens] * texts, seed=0))


def mixed(seed: int, texts: int = 64) -> Workload:
    """One request of log-normal lengths: median 60, up to 512."""
    return _workload(f"mixed, seed {seed}", _letters(_mixed_lengths(seed, texts), seed))


def spaced(seed: int, texts: int = 64) -> list[str]:
    """Texts of the same lengths in vocabularies of words, [CLS] and [SEP] included: words of one letter."""
    return [" ".join(text) for text in _letters([length - 1 for length in _mixed_lengths(seed, texts)], seed)]


def _mixed_lengths(seed: int, texts: int) -> list[int]:
    lengths = np.random.default_rng(seed).lognormal(np.log(60), 0.8, texts)
    return [int(length) for length in np.clip(lengths, 4, 512)]


def rerank(documents: int = 100, *, shared: bool = True) -> Workload:
    """One query and its documents, the query before each; unshared: as many tokens that begin differently."""
    lengths = np.random.default_rng(1).lognormal(np.log(54), 0.5, documents)
    tails = _letters(np.clip(lengths, 8, 256).astype(int).tolist(), seed=1)
    heads = _letters([HEAD_TOKENS + 1] * (1 if shared else documents), seed=2)
    texts = [heads[number % len(heads)] + tail for number, tail in enumerate(tails)]
    return _workload("rerank, 1 x 100" if shared else "rerank, nothing shared", texts)


def query(tokens: int) -> Workload:
    """One short text."""
    return _workload(f"one query of {tokens}", _letters([tokens], seed=3))


def _letters(lengths: Sequence[int], seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return ["".join(random.choice(list(LETTERS), length - 1)) for length in lengths]


def _workload(name: str, texts: Sequence[str]) -> Workload:
    # Bytes of letters keep their order in the vocabulary: "!" is id 0.
    ids = [np.array([*(ord(letter) - ord("!") for letter in text), 260], dtype=np.int32) for text in texts]
    return Workload(name, texts, ids)
