"""What the students learn from: bundles of texts and the teacher's vector of each. Pure data, no student."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from models.demo.training.data.grammar import Grammar
from models.demo.training.data.teacher import Teacher

CHUNK = 4000
# Each thread computes alone, so that a result depends on its chunk only.
THREADS = 2


@dataclass(frozen=True, slots=True)
class Lessons:
    """Texts in bundles of `width`, one after another, with the teacher's unit vectors, [texts, 384]."""

    texts: list[str]
    vectors: Tensor
    width: int

    @property
    def bundles(self) -> int:
        """How many bundles there are."""
        return len(self.texts) // self.width


def make(grammar: Grammar, teacher: Teacher, count: int, rng: random.Random, step: Callable[[str], None]) -> Lessons:
    """`count` bundles; the last text of some is a longer one, made of several sentences of the bundle."""
    bundles = grammar.bundles(count)
    for bundle in bundles:
        if rng.random() < 0.25:
            bundle[-1] = _long(bundle, rng)
    texts = [text for bundle in bundles for text in bundle]
    return Lessons(texts, label(teacher, texts, step), len(bundles[0]))


def label(teacher: Teacher, texts: Sequence[str], step: Callable[[str], None]) -> Tensor:
    """The teacher's unit vectors, [texts, 384], bfloat16; `step` is called once for every CHUNK texts."""
    chunks = [texts[first : first + CHUNK] for first in range(0, len(texts), CHUNK)]
    vectors: list[Tensor] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for chunk in pool.map(teacher.encode, chunks):
            vectors.append(chunk.to(torch.bfloat16))
            step(f"{sum(map(len, vectors))} texts")
    return torch.cat(vectors)


def _long(bundle: list[str], rng: random.Random) -> str:
    # Mostly two or three sentences; a few long texts keep positions up to several hundred in use.
    count = rng.choice((2, 2, 3, 3, 3, 4, 5, 8))
    sentences = [rng.choice(bundle[2:-1]) for _ in range(count)]
    if rng.random() < 0.02:
        sentences *= rng.randint(2, 5)
    return " ".join(text if text.endswith((".", "?")) else f"{text}." for text in sentences)
