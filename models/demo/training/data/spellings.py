"""How often each word is spelt how, by the lists and the teacher's ranks: which words become tokens."""

from collections.abc import Iterable, Iterator

from models.demo.training.data.words import LISTS, Word, seeds

# How often a spelling stands after a space with a capital letter, at a text's start with one, after a space without.
# The classes are guessed: an ordinary word that was taken for a name must still come before a rare one.
_SHARES = {"place": (0.7, 0.12, 0.5), "person": (0.35, 0.12, 0.5), "named": (0.5, 0.2, 0.5)}
_NAMES, NAME, LISTED, INFLECTED = (1.0, 0.4), 8e-5, 8e-5, 4e-5
_EVERYDAY, _ORDINARY = (0.05, 0.3, 1.0), (0.05, 0.05, 1.0)
BARE = 0.03


def counts(words: Iterable[Word]) -> Iterator[tuple[str, float]]:
    """How often each spelling stands, after a space or at a text's start, small or with a capital letter."""
    names = set(_plain("names", lower=False))
    listed = {word for name in ("phrases", "places", "sentences", "everyday") for word in _plain(name)}
    plain = set(_plain("everyday"))
    listed |= {word for group in seeds().values() for word in group}
    known: dict[str, tuple[str, float]] = {word.text: (word.group, word.frequency) for word in words}
    for text in sorted(listed | set(known)):
        group, frequency = known.get(text, ("thing", 0.0))
        # The ranks are an encyclopaedia's; what the lists hold, and its inflections, is everyday English.
        everyday = text in listed or any(base in listed for base in _bases(text))
        frequency += LISTED if text in listed else INFLECTED if everyday else 0.0
        inside, first, small = _EVERYDAY if text in plain else _SHARES.get(group, _EVERYDAY if everyday else _ORDINARY)
        yield f" {text.capitalize()}", frequency * inside
        yield text.capitalize(), frequency * first
        yield f" {text}", frequency * small
        yield text, frequency * small * BARE
    for name in sorted(names):
        yield f" {name}", NAME * _NAMES[0]
        yield name, NAME * _NAMES[1]


def _bases(text: str) -> Iterator[str]:
    for ending in ("s", "es", "ed", "d", "ing", "er", "ers", "ly", "y", "est"):
        stem = text.removesuffix(ending)
        if stem != text and len(stem) > 2:
            yield from (stem, f"{stem}e", f"{stem[:-1]}y", stem[:-1])


def _plain(name: str, *, lower: bool = True) -> list[str]:
    lines = (LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("# "))
    return "".join(char if char.isalpha() else " " for char in (text.lower() if lower else text)).split()
