"""Keeps keys and values of prefixes beyond their batch, as long as later batches use them."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.interface import Ids
from models.layers.cpu_attention import KeysValues

# About 110 MB for Qwen3 0.6B in bfloat16; the common prefix of a rerank request has about 90 tokens.
MAX_TOKENS = 1024
# A job with waiting items has some in every few batches; a prefix that this many batches did not use is dropped.
MAX_IDLE_BATCHES = 8


@dataclass(slots=True)
class CachedPrefix:
    """Ids int32 [n], and per layer keys and values [n, K, D] at positions 0 to n - 1."""

    ids: Ids
    layers: Sequence[KeysValues]
    idle_batches: int = 0


class PrefixCache:
    """The cached prefixes of one backend. Belongs to the thread that launches.

    An entry never becomes stale: equal ids have equal keys and values.
    """

    def __init__(self, max_tokens: int = MAX_TOKENS, max_idle_batches: int = MAX_IDLE_BATCHES) -> None:
        self._max_tokens, self._max_idle_batches = max_tokens, max_idle_batches
        self._prefixes: list[CachedPrefix] = []

    def prefixes(self) -> list[CachedPrefix]:
        """The prefixes that a batch may use."""
        return list(self._prefixes)

    def note_used(self, used: Sequence[CachedPrefix]) -> None:
        """Count one batch, and drop the prefixes that too many batches in a row did not use."""
        for prefix in self._prefixes:
            prefix.idle_batches = 0 if any(prefix is used_prefix for used_prefix in used) else prefix.idle_batches + 1
        self._prefixes = [prefix for prefix in self._prefixes if prefix.idle_batches <= self._max_idle_batches]

    def has_room_for(self, tokens: int) -> bool:
        """Whether a prefix of this many tokens can be cached; add() ignores a longer one."""
        return tokens <= self._max_tokens

    def add(self, prefix: CachedPrefix) -> None:
        """Cache a prefix; the prefixes that were idle longest make room for it."""
        is_cached = any(prefix.ids.tobytes() == cached.ids.tobytes() for cached in self._prefixes)
        if is_cached or not self.has_room_for(len(prefix.ids)):
            return
        self._prefixes = sorted([prefix, *self._prefixes], key=lambda cached: cached.idle_batches)
        while sum(len(cached.ids) for cached in self._prefixes) > self._max_tokens:
            self._prefixes.pop()

    def clear(self) -> None:
        """Drop every prefix and free its memory."""
        self._prefixes = []
