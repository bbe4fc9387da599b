"""Held-out queries, each with its right document first and nine wrong ones of the same subject. No models."""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HELD_OUT = Path(__file__).parent / "evaluation.jsonl"
WRONG = 9
_COMMON = frozenset(
    [
        "a",
        "about",
        "after",
        "all",
        "am",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "because",
        "by",
        "can",
        "cannot",
        "do",
        "does",
        "for",
        "from",
        "get",
        "give",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "is",
        "it",
        "its",
        "me",
        "must",
        "my",
        "no",
        "not",
        "of",
        "off",
        "on",
        "one",
        "or",
        "other",
        "out",
        "over",
        "should",
        "so",
        "some",
        "than",
        "that",
        "the",
        "their",
        "there",
        "they",
        "this",
        "to",
        "too",
        "up",
        "us",
        "was",
        "we",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "you",
        "your",
    ]
)


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and documents of which the first is the right one."""

    query: str
    documents: tuple[str, ...]

    @property
    def shares_words(self) -> bool:
        """Whether query and right document have a content word in common, plural endings aside."""
        return bool(content(self.query) & content(self.documents[0]))


def content(text: str) -> set[str]:
    """The words of a text that carry its subject."""
    return {_stem(word) for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in _COMMON}


def _stem(word: str) -> str:
    return re.sub(r"(?<=\w\w\w)(ing|ed|es|s)$", "", word)


def read(path: Path = HELD_OUT) -> list[Question]:
    """The questions of a file; the wrong documents are the right ones of the next queries of the subject."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    subjects: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        subjects.setdefault(row["subject"], []).append(row)
    return [
        Question(row["query"], tuple(group[(at + next_) % len(group)]["document"] for next_ in range(WRONG + 1)))
        for group in subjects.values()
        for at, row in enumerate(group)
    ]


def lengthen(questions: Sequence[Question], words: int) -> list[Question]:
    """The same questions with each document somewhere among foreign ones, `words` words in all."""
    rng = random.Random(words)  # noqa: S311, nothing here is secret
    pool = list(dict.fromkeys(document for question in questions for document in question.documents))
    return [
        Question(one.query, tuple(_among(text, one, pool, words, rng) for text in one.documents)) for one in questions
    ]


def _among(document: str, question: Question, pool: Sequence[str], words: int, rng: random.Random) -> str:
    texts = [document]
    while sum(len(text.split()) for text in texts) < words:
        other = rng.choice(pool)
        if other not in question.documents:
            texts.insert(rng.randint(0, len(texts)), other)
    return " ".join(texts)


@dataclass(frozen=True, slots=True)
class Marks:
    """Shares of the right document at first place, mean reciprocal rank, and nDCG at ten."""

    top_1: float
    mrr: float
    ndcg: float


def mark(scores: Sequence[Sequence[float]]) -> Marks:
    """Marks for scores a question, the right document's first; a tie counts against it."""
    ranks = [1 + sum(not row[0] > other for other in row[1:]) for row in scores]
    count = max(1, len(ranks))
    return Marks(
        sum(rank == 1 for rank in ranks) / count,
        sum(1 / rank for rank in ranks) / count,
        sum(1 / math.log2(1 + rank) for rank in ranks) / count,
    )


def bm25(question: Question, *, k: float = 1.2, b: float = 0.75) -> list[float]:
    """Robertson's BM25 over the question's own documents, common words left out."""
    documents = [Counter(map(_stem, re.findall(r"[a-z0-9]+", text.lower()))) for text in question.documents]
    mean = sum(sum(words.values()) for words in documents) / len(documents)
    scores = [0.0] * len(documents)
    for word in sorted(content(question.query)):
        having = sum(word in words for words in documents)
        weight = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
        for at, words in enumerate(documents):
            norm = k * (1 - b + b * sum(words.values()) / mean)
            scores[at] += weight * words[word] * (k + 1) / (words[word] + norm)
    return scores
