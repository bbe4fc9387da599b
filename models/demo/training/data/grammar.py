"""Made-up sentences about one subject at a time: patterns filled with words that the teacher finds near each other."""

import random
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from models.demo.training.data.words import CLASSES, LISTS, Word

_SLOT = re.compile(r"\{([A-Za-z]+)\}")
_WORD = re.compile(r"(?<![\w-])[a-z]+(?![\w-])")
_NEAR = 240


@dataclass(frozen=True, slots=True)
class Subject:
    """Phrases of one subject, by slot: DO, THING, FACT."""

    phrases: dict[str, list[str]]


def _read_subjects() -> list[Subject]:
    subjects: list[Subject] = []
    for line in (LISTS / "phrases.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            subjects.append(Subject({}))
        elif not line.startswith("#") and line:
            kind, _, phrases = line.partition(":")
            subjects[-1].phrases[kind.upper()] = [phrase.strip() for phrase in phrases.split("|")]
    return subjects


def _read_patterns() -> dict[str, list[str]]:
    patterns: dict[str, list[str]] = {"ask": [], "tell": []}
    for line in (LISTS / "templates.txt").read_text(encoding="utf-8").splitlines():
        kind, _, pattern = line.partition(": ")
        if kind in patterns:
            patterns[kind].append(pattern)
    return patterns


def _read_places() -> list[str]:
    found = []
    for line in (LISTS / "places.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            country, _, rest = line.partition(": ")
            capital, language, known = (part.strip() for part in rest.split(",", 2))
            found += [f"What is the capital of {country}?", f"{capital} is the capital of {country}."]
            found += [f"Which language is spoken in {country}?", f"People in {country} speak {language}."]
            found += [f"What is {country} known for?", f"{country} is famous for {known}."]
    return found


def _read_pairs() -> list[tuple[str, str]]:
    lines = (LISTS / "sentences.txt").read_text(encoding="utf-8").splitlines()
    return [(ask.strip(), tell.strip()) for ask, _, tell in (line.partition("|") for line in lines) if tell]


class Grammar:
    """Bundles of questions and statements about one subject. Not safe for use by several threads."""

    width = 8  # texts in a bundle

    def __init__(self, words: list[Word], vectors: Tensor, natural: list[str], rng: random.Random) -> None:
        """`vectors`: the teacher's, one a word, [words, 384]."""
        self._rng = rng
        self._words = words
        self._row = {word.text: row for row, word in enumerate(words)}
        self._near = _neighbours(vectors)
        self._weights = [word.frequency**0.5 * (0.3 if word.group in ("person", "other") else 1.0) for word in words]
        self._by_class = {group: [w for w in words if w.group == group] for group in CLASSES}
        self._subjects = _read_subjects()
        self._patterns = _read_patterns()
        self._natural = natural
        self._places = _read_places()
        self._pairs = _read_pairs()

    def bundles(self, count: int) -> list[list[str]]:
        """`count` bundles; in each the first text is a question, and all are about one subject."""
        seeds = self._rng.choices(range(len(self._words)), self._weights, k=count)
        return [self._country() if self._rng.random() < 0.05 else self._bundle(seed) for seed in seeds]

    def _country(self) -> list[str]:
        """Questions and statements about one country, and statements about another."""
        one, other = self._rng.sample(range(len(self._places) // 6), 2)
        asks = self._rng.sample(self._places[6 * one : 6 * one + 6 : 2], 2)
        tells = [self._places[6 * country + at] for country in (one, other) for at in (1, 3, 5)]
        return [*asks, *tells]

    def _bundle(self, seed: int) -> list[str]:
        rng = self._rng
        subject = rng.choice(self._subjects)
        if rng.random() < 0.5:
            # Half of the bundles stay with a written subject: its words lead the choice of the others.
            phrase = rng.choice(rng.choice(list(subject.phrases.values())))
            known = [w for w in _WORD.findall(phrase.lower()) if w in self._row and len(w) > 3]
            seed = self._row[rng.choice(known)] if known else seed
        pair = rng.choice(self._pairs)
        asks = [self._said(pair[0], seed), self._fill(rng.choice(self._patterns["ask"]), seed, subject)]
        rng.shuffle(asks)
        texts = [*asks, self._said(pair[1], seed)]
        texts += [self._said(rng.choice(rng.choice(self._pairs)), seed) for _ in range(2)]
        texts.append(self._fill(rng.choice(self._patterns["tell"]), seed, subject))
        texts.append(self._moved(rng.choice(self._natural), seed, rng.choice((0.0, 0.4, 0.8))))
        texts.append(rng.choice(self._places) if rng.random() < 0.12 else self._bag(seed))
        return texts

    def _said(self, sentence: str, seed: int) -> str:
        """An everyday sentence as it is, a little changed, or carried to the subject."""
        chance = self._rng.random()
        if chance < 0.5:
            return self._cased(self._varied(sentence))
        return self._moved(sentence, seed, self._rng.choice((0.4, 0.8)))

    def _pick(self, group: str, seed: int) -> str:
        near = [row for row in self._near[seed] if self._words[row].group == group]
        if near and self._rng.random() < 0.85:
            return self._words[self._rng.choice(near[:12])].text
        word = self._rng.choice(self._by_class[group])
        return word.text

    def _fill(self, pattern: str, seed: int, subject: Subject) -> str:
        rng = self._rng

        def slot(match: re.Match[str]) -> str:
            name = match.group(1)
            if name in ("DO", "THING", "FACT"):
                return self._varied(rng.choice(subject.phrases.get(name) or ["it"]))
            if name == "DOING":
                return _doing(self._varied(rng.choice(subject.phrases["DO"])))
            text = self._pick(name, seed)
            return text.capitalize() if name in ("person", "place") else text

        text = _SLOT.sub(slot, pattern)
        return self._cased(text)

    def _cased(self, text: str) -> str:
        chance = self._rng.random()
        if chance < 0.12:
            return text.lower()
        if chance < 0.15:
            return text.title()
        return text[:1].upper() + text[1:]

    def _varied(self, phrase: str) -> str:
        """The phrase with some of its words changed for near ones of the same class."""
        chance = self._rng.choice((0.0, 0.15, 0.4))
        return self._replace(phrase, chance, None)

    def _moved(self, sentence: str, seed: int, chance: float) -> str:
        """The sentence carried to another subject, word class by word class."""
        return self._cased(self._replace(sentence, chance, seed))

    def _replace(self, text: str, chance: float, seed: int | None) -> str:
        def change(match: re.Match[str]) -> str:
            row = self._row.get(match.group(0))
            if row is None or self._words[row].group in ("other", "how") or self._rng.random() >= chance:
                return match.group(0)
            return self._pick(self._words[row].group, row if seed is None else seed)

        return _WORD.sub(change, text) if chance else text

    def _bag(self, seed: int) -> str:
        rows = self._rng.sample(self._near[seed][:60], self._rng.randint(1, 6))
        return " ".join(self._words[row].text for row in rows)


def _doing(phrase: str) -> str:
    verb, _, rest = phrase.partition(" ")
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and verb != "be":
        verb = verb[:-1]
    elif re.fullmatch(r"[a-z]?[^aeiou]?[aeiou][bdgmnprt]", verb):
        verb += verb[-1]
    return f"{verb}ing {rest}".strip()


def _neighbours(vectors: Tensor) -> list[list[int]]:
    near: list[list[int]] = []
    for chunk in vectors.split(1024):
        near += torch.topk(chunk @ vectors.T, _NEAR, dim=1).indices.tolist()
    return near
