"""How fast a device was lately: seconds for a batch and for a token, and the host's share."""

from dataclasses import dataclass

# How much the newest batch counts.
WEIGHT = 0.2
# Before the first batch; only orders of magnitude matter, and they are corrected at once.
FIRST_SECONDS_PER_TOKEN = 1e-4
# Below this relative variance of batch sizes no line can be told from a point.
LEAST_VARIANCE = 1e-3


@dataclass(slots=True)
class CostModel:
    """Moving averages over batches, and the straight line through them: so much for a batch, so much for a token.

    A batch of one query takes a hundred times as long per token as a full one: an average of the two is wrong for both.
    """

    host_s: float = 0.0
    batches: int = 0
    _tokens: float = 0.0
    _seconds: float = 0.0
    _tokens_squared: float = 0.0
    _tokens_seconds: float = 0.0
    _full_tokens: float = 0.0
    _full_seconds: float = 0.0

    @property
    def seconds_per_token(self) -> float:
        """Over recent batches together, so that large ones count for more."""
        return self._seconds / self._tokens if self.batches else FIRST_SECONDS_PER_TOKEN

    @property
    def tokens_per_s(self) -> float:
        """How fast a queue is worked off: over full batches alone, 0 before the first.

        A device that sees nothing but lone queries looks a hundred times as slow as it is.
        """
        return self._full_tokens / self._full_seconds if self._full_seconds else 0.0

    def seconds(self, tokens: int) -> float:
        """How long a batch of so many tokens would take."""
        if not self.batches:
            return tokens * FIRST_SECONDS_PER_TOKEN
        return self._seconds + self._slope() * (tokens - self._tokens)

    def note(self, tokens: int, device_s: float, host_s: float, *, is_full: bool) -> None:
        """Count one batch; a full one left something waiting that would not fit."""
        weight = WEIGHT if self.batches else 1.0
        tokens, device_s = max(tokens, 1), max(device_s, 1e-9)
        self._tokens += (tokens - self._tokens) * weight
        self._seconds += (device_s - self._seconds) * weight
        self._tokens_squared += (tokens**2 - self._tokens_squared) * weight
        self._tokens_seconds += (tokens * device_s - self._tokens_seconds) * weight
        self.host_s += (host_s - self.host_s) * weight
        self.batches += 1
        if is_full:
            weight = WEIGHT if self._full_seconds else 1.0
            self._full_tokens += (tokens - self._full_tokens) * weight
            self._full_seconds += (device_s - self._full_seconds) * weight

    def _slope(self) -> float:
        # Between a batch that costs nothing but its tokens and one whose tokens cost nothing.
        steepest = self.seconds_per_token
        variance = self._tokens_squared - self._tokens**2
        if variance < LEAST_VARIANCE * self._tokens**2:
            return steepest
        return min(max((self._tokens_seconds - self._tokens * self._seconds) / variance, 0.0), steepest)
