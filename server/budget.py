"""How large a batch may be: as configured, and less for a while after the device ran out of memory."""

from dataclasses import replace

from server.batching import Limits

# So many good batches in a row, and a lowered budget grows by a tenth: whoever else took the memory may be gone.
GOOD_BATCHES = 100
GROWTH = 1.1


class Budget:
    """The limits of the next batch. Belongs to the worker's thread."""

    def __init__(self, configured: Limits) -> None:
        self.limits = configured
        self._most = configured.max_tokens
        self._good = 0

    def shrink(self, tokens: int) -> None:
        """A batch of `tokens` did not fit: try half of that from now on."""
        self._good = 0
        self.limits = replace(self.limits, max_tokens=max(min(self.limits.max_tokens, tokens) // 2, 1))

    def note_good(self) -> None:
        """A batch fitted."""
        if self.limits.max_tokens == self._most:
            return
        self._good += 1
        if self._good >= GOOD_BATCHES:
            self._good = 0
            grown = int(self.limits.max_tokens * GROWTH) + 1
            self.limits = replace(self.limits, max_tokens=min(grown, self._most))
