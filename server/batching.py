"""Which waiting items run next. Pure: no threads, no clocks, no torch."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one forward pass takes."""

    max_tokens: int
    max_items: int


@dataclass(slots=True)
class Job:
    """The waiting part of one request; `taken` items of it have run or are running."""

    id: int
    model: str
    lengths: tuple[int, ...]
    taken: int = 0
    waiting_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.waiting_tokens = sum(self.lengths)

    @property
    def waiting(self) -> int:
        """Items that have not been taken."""
        return len(self.lengths) - self.taken

    def take(self) -> None:
        """Count the next item as taken."""
        self.waiting_tokens -= self.lengths[self.taken]
        self.taken += 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One item of one job."""

    job: int
    index: int


def take_batch(jobs: Iterable[Job], limits: Limits) -> list[Entry]:
    """Take the next batch, in order of arrival, all of one model; a job's items stay neighbours.

    An item above the budget runs alone. Jobs are marked as taken; the caller drops those with nothing waiting.
    """
    entries: list[Entry] = []
    tokens, model = 0, None
    for job in jobs:
        if not job.waiting or model not in (None, job.model):
            continue
        model = job.model
        while job.waiting:
            length = job.lengths[job.taken]
            if entries and (tokens + length > limits.max_tokens or len(entries) >= limits.max_items):
                return entries
            entries.append(Entry(job.id, job.taken))
            tokens += length
            job.take()
    return entries
