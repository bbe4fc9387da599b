"""Texts as token ids, of which some begin alike: random ones, prose, one query with its documents."""

from collections.abc import Sequence

import numpy as np

from models.interface import Ids

QUERY_TOKENS, DOCUMENT_TOKENS = 90, 128

Texts = Sequence[Ids]


def random_texts(count: int, tokens: int) -> Texts:
    random = np.random.default_rng(0)
    return [random.integers(0, 30000, tokens, dtype=np.int32) for _ in range(count)]


def prose(count: int, tokens: int) -> Texts:
    """Ids as frequent as words are, so that many texts begin with the same few."""
    return [ids.astype(np.int32) for ids in np.random.default_rng(0).zipf(1.3, (count, tokens)).clip(max=20000)]


def mixed(count: int) -> Texts:
    lengths = np.random.default_rng(1).lognormal(np.log(60), 0.8, count).clip(4, 512)
    return [np.random.default_rng(int(n)).integers(0, 30000, int(n), dtype=np.int32) for n in lengths]


def pairs(documents: int) -> Texts:
    """One query and its documents."""
    query, *texts = (*random_texts(1, QUERY_TOKENS), *random_texts(documents, DOCUMENT_TOKENS))
    return [np.concatenate([query, ids]) for ids in texts]
