"""Which waiting items run next. Pure: no threads, no clocks, no torch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

# Which client's, and which of its requests.
Key = tuple[bytes, int]

# Looking through thousands of jobs for one that fills the last gap would take longer than the gap is worth.
MAX_MISFITS = 64


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much one forward pass takes: tokens that are computed, and items."""

    max_tokens: int
    max_items: int


@dataclass(slots=True)
class Job:
    """One request's items while they wait, in the order in which they run.

    `shared[i]` is how many leading tokens item i has in common with item i - 1: they are computed once when both run in
    one batch. The first `taken` items have run or are running.
    """

    key: Key
    model: str
    lengths: Sequence[int]
    shared: Sequence[int]
    arrived: float
    taken: int = 0
    tokens: int = field(init=False)
    waiting_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.waiting_tokens = sum(self.lengths) - sum(self.shared)

    @property
    def waiting(self) -> int:
        """Items that have not been taken."""
        return len(self.lengths) - self.taken

    def next_cost(self, *, joins: bool) -> int:
        """Tokens that the next item adds to a batch; `joins` when the item before it is in the same batch."""
        return self.lengths[self.taken] - (self.shared[self.taken] if joins else 0)

    def take(self) -> int:
        """Count the next item as taken and return its index."""
        self.waiting_tokens -= self.lengths[self.taken] - self.shared[self.taken]
        self.taken += 1
        return self.taken - 1

    def response_ratio(self, now: float, seconds_per_token: float) -> float:
        """(waited + s) / s, where s is the time that the job takes, at least one token's.

        Brinch Hansen's highest response ratio next, per request: a short one passes a long one at once, and a long one
        that has waited passes in its turn. Per item it would be first come, first served; by what is left of a job, the
        last batches of each bulk job would pass every query (benchmarks/results/simulation.md: p99 of 6 batches for 3).
        """
        service_s = max(self.tokens, 1) * seconds_per_token
        return (now - self.arrived + service_s) / service_s


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One item of one job."""

    key: Key
    index: int


def take_batch(
    jobs: Iterable[Job], limits: BatchLimits, now: float, seconds_per_token: Mapping[str, float]
) -> list[BatchItem]:
    """Take the next batch: the job with the highest response ratio first, then others of its model while they fit.

    `seconds_per_token` is each model's. A job's items stay neighbours. An item above the budget runs alone. Jobs are
    marked as taken; the caller drops those with nothing waiting.
    """
    waiting = [job for job in jobs if job.waiting]
    if not waiting:
        return []
    waiting.sort(key=lambda job: job.response_ratio(now, seconds_per_token[job.model]), reverse=True)
    model = waiting[0].model
    entries: list[BatchItem] = []
    tokens = misfits = 0
    for job in waiting:
        if job.model != model:
            continue
        taken = _take_from(job, entries, tokens, limits)
        tokens += taken
        misfits += not taken
        if tokens >= limits.max_tokens or len(entries) >= limits.max_items or misfits == MAX_MISFITS:
            break
    return entries


def _take_from(job: Job, entries: list[BatchItem], tokens: int, limits: BatchLimits) -> int:
    taken = 0
    while job.waiting and len(entries) < limits.max_items:
        cost = job.next_cost(joins=taken > 0)
        if entries and tokens + taken + cost > limits.max_tokens:
            break
        entries.append(BatchItem(job.key, job.take()))
        taken += cost
    return taken


# So many good batches in a row, and a lowered budget grows by a tenth: whoever else took the memory may be gone.
GOOD_BATCHES = 100
GROWTH = 1.1


class AdaptiveBatchLimits:
    """The limits of the next batch. Belongs to the worker's thread."""

    def __init__(self, configured: BatchLimits) -> None:
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
