"""Which waiting items run next. Pure: no threads, no clocks, no torch."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

# The client's id, and the id of its request.
Key = tuple[bytes, int]

# Callers that sent something within this time share the server.
CALLER_S = 1.0
# Searching thousands of jobs for one that fills the last gap would take longer than the gap is worth.
MAX_MISFITS = 64


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The most that one forward pass may hold: tokens to compute, and items."""

    max_tokens: int
    max_items: int


@dataclass(slots=True)
class Job:
    """The items of one request while they wait, in the order in which they run.

    `shared[i]` is the number of leading tokens that item i has in common with item i - 1: they are computed once if
    both run in one batch. Items before `next_index` have run or are running.
    """

    key: Key
    model: str
    lengths: Sequence[int]
    shared: Sequence[int]
    arrived: float
    alone: bool = False  # shares no batch with another job
    caller: str = ""
    next_index: int = 0
    tokens: int = field(init=False)
    waiting_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.waiting_tokens = sum(self.lengths) - sum(self.shared)

    @property
    def waiting(self) -> int:
        """The number of items that have not been taken."""
        return len(self.lengths) - self.next_index

    def next_cost(self, *, joins: bool) -> int:
        """Tokens that the next item adds to a batch; `joins` if the item before it is in the same batch."""
        return self.lengths[self.next_index] - (self.shared[self.next_index] if joins else 0)

    def take(self) -> int:
        """Count the next item as taken and return its index."""
        self.waiting_tokens -= self.lengths[self.next_index] - self.shared[self.next_index]
        self.next_index += 1
        return self.next_index - 1

    def response_ratio(self, now: float, seconds_per_token: float) -> float:
        """(waited + s) / s, where s is the service time of the whole job, at least that of one token.

        Brinch Hansen's "highest response ratio next", per request: a short request passes a long one at once, and a
        long one that has waited has its turn. Per item, the rule would be first come, first served. With the service
        time that is left instead of the whole, the last batches of each bulk job would pass every query: its p99 would
        be 6 batches instead of 3 (benchmarks/results/simulation.md).
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
    """Take the next batch: the job whose turn it is first, then jobs of the same model that fit.

    `seconds_per_token` is keyed by model. The items of a job stay next to each other. An item that is over the limits
    runs alone. The jobs advance; whoever keeps them drops those that have nothing waiting.
    """
    waiting = _in_turn([job for job in jobs if job.waiting], now, seconds_per_token)
    if not waiting:
        return []
    model = waiting[0].model
    items: list[BatchItem] = []
    tokens = misfits = 0
    for job in waiting:
        if job.model != model or (job.alone and job is not waiting[0]):
            continue
        added = _take_from(job, items, tokens, limits)
        tokens += added
        misfits += not added
        if tokens >= limits.max_tokens or len(items) >= limits.max_items or misfits == MAX_MISFITS or job.alone:
            break
    return items


def _in_turn(jobs: Iterable[Job], now: float, seconds_per_token: Mapping[str, float]) -> Sequence[Job]:
    """The jobs of each caller by response ratio, and the callers' jobs merged so that each caller gets its share."""
    by_caller: defaultdict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        by_caller[job.caller].append(job)
    for own in by_caller.values():
        own.sort(key=lambda job: job.response_ratio(now, seconds_per_token[job.model]), reverse=True)
    if len(by_caller) < 2:
        return next(iter(by_caller.values()), [])
    turns: list[tuple[float, Job]] = []
    for own in by_caller.values():
        turns += _turns(own, now, seconds_per_token)
    turns.sort(key=lambda turn: turn[0], reverse=True)
    return [job for _, job in turns]


def _turns(own: Sequence[Job], now: float, seconds_per_token: Mapping[str, float]) -> Iterable[tuple[float, Job]]:
    """The jobs of one caller with their response ratios among those of other callers.

    There the service time of a job includes that of its caller's other jobs, each up to the job's own: so long would
    the caller expect to wait if it had the device for itself. Callers that always have n jobs waiting get equal
    shares of the device, whatever n is, because the ratios are equal when waiting times are as n to n.
    """
    service_s = [max(job.tokens, 1) * seconds_per_token[job.model] for job in own]
    ahead_s, total_s = {}, 0.0
    for place, seconds in enumerate(sorted(service_s)):
        ahead_s[seconds] = total_s + seconds * (len(own) - place)
        total_s += seconds
    turn = float("inf")
    for job, seconds in zip(own, service_s, strict=True):
        # A job's turn is not before that of its caller's jobs which precede it.
        turn = min(turn, (now - job.arrived) / ahead_s[seconds])
        yield turn, job


def _take_from(job: Job, items: list[BatchItem], tokens: int, limits: BatchLimits) -> int:
    """Move items of a job into the batch while they fit, and return the tokens that they add."""
    added = 0
    while job.waiting and len(items) < limits.max_items:
        cost = job.next_cost(joins=added > 0)
        if items and tokens + added + cost > limits.max_tokens:
            break
        items.append(BatchItem(job.key, job.take()))
        added += cost
    return added


# After this many successful batches in a row, lowered limits grow by a tenth: another process may have freed memory.
GOOD_BATCHES = 100
GROWTH = 1.1


class AdaptiveBatchLimits:
    """The limits of the next batch, lowered when the device runs out of memory. Belongs to the scheduler's thread."""

    def __init__(self, configured: BatchLimits) -> None:
        self.limits = configured
        self._configured_tokens = configured.max_tokens
        self._good_batches = 0

    def shrink(self, tokens: int) -> None:
        """Record that a batch of `tokens` did not fit: half of that is the limit from now on."""
        self._good_batches = 0
        self.limits = replace(self.limits, max_tokens=max(min(self.limits.max_tokens, tokens) // 2, 1))

    def record_success(self) -> None:
        """Record that a batch fitted into memory."""
        if self.limits.max_tokens == self._configured_tokens:
            return
        self._good_batches += 1
        if self._good_batches >= GOOD_BATCHES:
            self._good_batches = 0
            grown = int(self.limits.max_tokens * GROWTH) + 1
            self.limits = replace(self.limits, max_tokens=min(grown, self._configured_tokens))
