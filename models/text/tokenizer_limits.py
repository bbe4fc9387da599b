"""Refuses a tokenizer.json that would make a short text long: the library has no limit, and running out of memory in it
ends the process.
"""

import re
from collections.abc import Iterator
from typing import Any

from models.checkpoint.files import JsonObject

# Steps of a published tokenizer replace one character by one, or by three at most; Prepend adds one.
MAX_GROWTH = 1_000
MAX_TEXT_CHARACTERS = 1_000
# The longest known, of o200k, has 500.
MAX_PATTERN_CHARACTERS = 20_000
_STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_AFFIXES = ("continuing_subword_prefix", "end_of_word_suffix", "unk_token")
# A table in Base64: it maps a few characters each to a few others.
_TABLES = ("precompiled_charsmap",)


def why_unbounded(document: JsonObject) -> str | None:
    """Why a tokenizer.json may make texts too long; None if it does not."""
    model = document.get("model")
    affixes = {name: model.get(name) for name in _AFFIXES} if isinstance(model, dict) else {}
    for name, text in _texts({**{step: document.get(step) for step in _STEPS}, "model": affixes}):
        limit = MAX_PATTERN_CHARACTERS if name == "Regex" else MAX_TEXT_CHARACTERS
        if len(text) > limit:
            return f"its {name} has {len(text)} characters; at most {limit} are supported"
    growth = 1.0
    for step in _objects(document.get("normalizer")):
        growth *= _growth(step)
    if growth > MAX_GROWTH:
        return f"its normalizer may make a text {growth:,.0f} times as long; at most {MAX_GROWTH} times is supported"
    return None


def _growth(step: JsonObject) -> float:
    """How many times as long a step makes a text of whatever it replaces."""
    if step.get("type") != "Replace":
        return 1.0
    pattern, content = step.get("pattern"), step.get("content")
    if not isinstance(pattern, dict) or not isinstance(content, str):
        return 1.0
    if string := str(pattern.get("String") or ""):
        return max(1.0, len(content) / len(string))
    return len(content) + 1.0 if _matches_nothing(str(pattern.get("Regex") or "")) else max(1.0, float(len(content)))


def _matches_nothing(pattern: str) -> bool:
    """Whether a pattern may match between any two characters."""
    try:
        return re.search(pattern, "") is not None
    except (re.error, RecursionError, OverflowError):  # Oniguruma knows more than Python
        return True


def _objects(value: Any) -> Iterator[JsonObject]:
    """A step, and the steps of a Sequence in any nesting."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    for item in _objects(value):
        for name, text in item.items():
            if isinstance(text, str) and name not in _TABLES:
                yield name, text
