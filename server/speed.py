"""How fast a device was lately: seconds for a token, and the host's share of a batch."""

from dataclasses import dataclass

# How much the newest batch counts.
WEIGHT = 0.2
# Before the first batch; only orders of magnitude matter, and they are corrected at once.
FIRST_SECONDS_PER_TOKEN = 1e-4


@dataclass(slots=True)
class Speed:
    """Moving averages over batches."""

    seconds_per_token: float = FIRST_SECONDS_PER_TOKEN
    host_s: float = 0.0
    batches: int = 0

    @property
    def tokens_per_s(self) -> float:
        """0 before the first batch."""
        return 1 / self.seconds_per_token if self.batches else 0.0

    def note(self, tokens: int, device_s: float, host_s: float) -> None:
        """Count one batch."""
        weight = WEIGHT if self.batches else 1.0
        self.seconds_per_token += (max(device_s, 1e-9) / max(tokens, 1) - self.seconds_per_token) * weight
        self.host_s += (host_s - self.host_s) * weight
        self.batches += 1
