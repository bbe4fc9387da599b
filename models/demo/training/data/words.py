"""Everyday English words with a class and a frequency each. Learns the classes from lists/classes.txt."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.demo.training.data.teacher import Teacher

LISTS = Path(__file__).parent / "lists"
CLASSES = ("thing", "idea", "things", "do", "does", "did", "doing", "like", "how", "person", "place", "named", "other")
_ENDINGS = (
    "s",
    "es",
    "ed",
    "ing",
    "ly",
    "er",
    "ion",
    "ness",
    "ment",
    "ity",
    "al",
    "ous",
    "ful",
    "ive",
    "able",
    "y",
    "ia",
)


@dataclass(frozen=True, slots=True)
class Word:
    """One lower-case word, its class, and how often it is met (about once in 1 / frequency words)."""

    text: str
    group: str
    frequency: float


def seeds() -> dict[str, list[str]]:
    """The hand-written words of each class."""
    by_class: dict[str, list[str]] = {}
    for line in (LISTS / "classes.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            group, _, words = line.partition(":")
            by_class[group] = words.split()
    return by_class


def _features(words: list[str], teacher: Teacher) -> Tensor:
    endings = torch.tensor([[float(word.endswith(end)) for end in _ENDINGS] for word in words])
    table = torch.nn.functional.normalize(teacher.word_table(words), dim=-1)
    return torch.cat([teacher.encode(words), table * 3, endings], dim=1)


def learn(teacher: Teacher) -> list[Word]:
    """The teacher's whole words, classed by a linear model that the hand-written lists train."""
    from sklearn.linear_model import LogisticRegression

    ranked = [word for word in teacher.vocabulary() if re.fullmatch(r"[a-z]{2,}|a|i", word)]
    known = set(ranked)
    labelled = {word: group for group, words in seeds().items() for word in words if word in known}
    features = _features(ranked, teacher)
    row = {word: index for index, word in enumerate(ranked)}
    picks = list(labelled)
    model = LogisticRegression(C=3.0, max_iter=2000)
    model.fit(features[[row[word] for word in picks]].numpy(), [labelled[word] for word in picks])
    groups = model.predict(features.numpy())
    total = sum(1 / (rank + 30) for rank in range(len(ranked)))
    return [
        Word(word, labelled.get(word, str(groups[rank])), 1 / (rank + 30) / total) for rank, word in enumerate(ranked)
    ]
