"""The recent speed of a device with one model: seconds for a batch and for a token, and the host's share."""

from dataclasses import dataclass

# The weight of the newest batch in the moving averages.
WEIGHT = 0.2
# Assumed before the first batch. Only the order of magnitude matters, and the first batch corrects it.
FIRST_SECONDS_PER_TOKEN = 1e-4
# A batch hangs when it takes this many times what was expected, and this much more.
HANG_TIMES, HANG_S = 5.0, 2.0
# The limit of a batch before the first was measured: a long text on a slow processor takes minutes.
FIRST_LIMIT_S = 600.0
# Below this length of text, the cost of attention is lost in that of the linear layers.
LINEAR_TOKENS = 1024
# A query is a text of so few tokens. While callers share the device, a batch takes this many times the time of a lone
# query: a query waits for half of a batch and its own, seven to eight times its own time, and batches stay efficient.
QUERY_TOKENS = 64
SHARED_TIMES = 5.0
# Below this relative variance, batch sizes are too much alike to fit a line.
LEAST_VARIANCE = 1e-3


@dataclass(slots=True)
class CostModel:
    """Moving averages over batches, and a straight line fitted to them: a cost for each batch and one for each token.

    A batch of one query takes a hundred times as long per token as a full one, so that an average is wrong for both.
    """

    host_s: float = 0.0
    batches: int = 0
    _tokens: float = 0.0
    _seconds: float = 0.0
    _tokens_squared: float = 0.0
    _tokens_seconds: float = 0.0
    _full_tokens: float = 0.0
    _full_seconds: float = 0.0
    _query_seconds: float = 0.0

    @property
    def seconds_per_token(self) -> float:
        """The average over the tokens of recent batches, so that large batches count for more."""
        return self._seconds / self._tokens if self.batches else FIRST_SECONDS_PER_TOKEN

    @property
    def tokens_per_s(self) -> float:
        """The speed at which a queue drains, over full batches alone; 0 before the first.

        Measured over single queries, a device looks a hundred times as slow as it is.
        """
        return self._full_tokens / self._full_seconds if self._full_seconds else 0.0

    @property
    def shared_tokens(self) -> float:
        """The most tokens of a batch while several callers share the device; infinite before the first lone query."""
        if not self._query_seconds:
            return float("inf")
        return SHARED_TIMES * self._query_seconds / self.seconds_per_token

    def seconds(self, tokens: int) -> float:
        """The estimated device time of a batch of `tokens`."""
        if not self.batches:
            return tokens * FIRST_SECONDS_PER_TOKEN
        return self._seconds + self._slope() * (tokens - self._tokens)

    def hang_limit_s(self, tokens: int, longest: int) -> float:
        """How long a batch of `tokens` may run before the device counts as hung; `longest` is its longest text.

        The estimate is an upper bound: a slope fitted to short batches says little about long ones, and attention is
        quadratic in the length of a text.
        """
        if not self.batches:
            return FIRST_LIMIT_S
        expected_s = max(self.seconds(tokens), tokens * self.seconds_per_token) * max(longest / LINEAR_TOKENS, 1.0)
        return expected_s * HANG_TIMES + HANG_S

    def record(self, tokens: int, device_s: float, host_s: float, *, is_full: bool) -> None:
        """Update the averages with a batch. `is_full`: items of the same model had to wait for the next one."""
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
        elif tokens <= QUERY_TOKENS:
            weight = WEIGHT if self._query_seconds else 1.0
            self._query_seconds += (device_s - self._query_seconds) * weight

    def _slope(self) -> float:
        # Between no cost for the batch itself (the average) and no cost for its tokens (0).
        steepest = self.seconds_per_token
        variance = self._tokens_squared - self._tokens**2
        if variance < LEAST_VARIANCE * self._tokens**2:
            return steepest
        return min(max((self._tokens_seconds - self._tokens * self._seconds) / variance, 0.0), steepest)
