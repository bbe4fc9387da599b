"""Prefixes whose keys and values outlive their batch, for as long as batches go on using them."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.interface import Ids
from models.layers.cpu_attention import KeysValues

# About 110 MB for Qwen3 0.6B in bfloat16; a rerank request's head has some 90 tokens.
MAX_TOKENS = 1024
# A job whose entries wait is in every few batches; after so many without it, its prefix is dropped.
MAX_IDLE_BATCHES = 8


@dataclass(slots=True)
class CachedPrefix:
    """Ids, and per layer keys and values [n, K, D] at positions 0 to n - 1."""

    ids: Ids
    layers: Sequence[KeysValues]
    idle_batches: int = 0


class PrefixCache:
    """What one backend keeps; belongs to the thread that launches. Equal ids have equal keys: nothing goes stale."""

    def __init__(self, max_tokens: int = MAX_TOKENS, max_idle_batches: int = MAX_IDLE_BATCHES) -> None:
        self._max_tokens, self._max_idle_batches = max_tokens, max_idle_batches
        self._prefixes: list[CachedPrefix] = []

    def offer(self) -> list[CachedPrefix]:
        """The prefixes that a batch may use."""
        return list(self._prefixes)

    def note_used(self, used: Sequence[CachedPrefix]) -> None:
        """Count one batch; drop what it and the batches before it did not use."""
        for prefix in self._prefixes:
            prefix.idle_batches = 0 if any(prefix is other for other in used) else prefix.idle_batches + 1
        self._prefixes = [prefix for prefix in self._prefixes if prefix.idle_batches <= self._max_idle_batches]

    def has_room_for(self, tokens: int) -> bool:
        """Whether a prefix of so many tokens is kept at all: a longer one would drive out all others, and itself."""
        return tokens <= self._max_tokens

    def add(self, prefix: CachedPrefix) -> None:
        """Keep one more, in place of those that were idle longest."""
        is_kept = any(prefix.ids.tobytes() == other.ids.tobytes() for other in self._prefixes)
        if is_kept or not self.has_room_for(len(prefix.ids)):
            return
        self._prefixes = sorted([prefix, *self._prefixes], key=lambda each: each.idle_batches)
        while sum(len(each.ids) for each in self._prefixes) > self._max_tokens:
            self._prefixes.pop()

    def clear(self) -> None:
        """Give the memory back."""
        self._prefixes = []
