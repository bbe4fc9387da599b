"""Which waiting items run next. Pure: no threads, no clocks, no torch."""

import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count

from models import pass_work

# The client's id, and the id of its request.
Key = tuple[bytes, int]

# Callers that sent something within this time share the server.
CALLER_S = 1.0
# Searching thousands of jobs for one that fills the last gap would take longer than the gap is worth.
MAX_MISFITS = 64
# Sizes of jobs are rounded up to this many significant bits, which is by a sixteenth at most: so there are at most 304
# sizes below four million tokens, and choosing a batch costs the same however many jobs wait.
SIZE_BITS = 5
# Texts that are computed in parts take turns. Each that has begun holds memory: 9 kB a token of Qwen3 0.6B.
MAX_SPLIT_TEXTS = 4


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The most that one forward pass may hold: tokens to compute, and items.

    A longer text is computed in parts of about the work of `chunk_tokens`, if its backend can do that; 0: as a whole.
    """

    max_tokens: int
    max_items: int
    chunk_tokens: int = 0

    @property
    def part_work(self) -> int:
        """The work of one part of a long text, in tokens of a short one."""
        return max(min(self.chunk_tokens, self.max_tokens), self.chunk_tokens // 8)


@dataclass(slots=True)
class Job:
    """The items of one request while they wait, in the order in which they run.

    `shared[i]` is the number of leading tokens that item i has in common with item i - 1: they are computed once if
    both run in one batch. Items before `next_index` have run or are running. An item of more than `longest_whole`
    tokens runs in parts, each a batch of its own; the share `next_share` of the next item was taken so far.
    `service_tokens` are the rounded tokens of the whole job, by which its turn is decided.
    """

    key: Key
    model: str
    lengths: Sequence[int]
    shared: Sequence[int]
    arrived: float
    alone: bool = False  # shares no batch with another job
    caller: str = ""
    longest_whole: float = float("inf")
    next_index: int = 0
    next_share: float = 0.0
    tokens: int = field(init=False)
    waiting_tokens: int = field(init=False)
    service_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.waiting_tokens = sum(self.lengths) - sum(self.shared)
        work = self.tokens + int(sum(pass_work(0, n) - n for n in self.lengths if n > self.longest_whole))
        step = 1 << max(work.bit_length() - SIZE_BITS, 0)
        self.service_tokens = max(-(-work // step) * step, 1)

    @property
    def waiting(self) -> int:
        """The number of items of which something has not been taken."""
        return len(self.lengths) - self.next_index

    @property
    def is_split(self) -> bool:
        """Whether the next item, if there is one, runs in parts."""
        return self.waiting > 0 and self.lengths[self.next_index] > self.longest_whole

    def next_cost(self, *, joins: bool) -> int:
        """Tokens that the next item adds to a batch; `joins` if the item before it is in the same batch."""
        return self.lengths[self.next_index] - (self.shared[self.next_index] if joins else 0)

    def take(self) -> int:
        """Count the next item as taken and return its index."""
        self.waiting_tokens -= self.lengths[self.next_index] - self.shared[self.next_index]
        self.next_index += 1
        return self.next_index - 1

    def take_part(self, work: int) -> "BatchItem":
        """Count a part of the next item as taken: so much work, or up to a half more than that at the end."""
        index, before = self.next_index, self.next_share
        length = self.lengths[index]
        total = pass_work(0, length)
        until = before + work / total
        if (1 - until) * total < work / 2:
            until = 1.0
        tokens = int(length * until) - int(length * before)
        self.waiting_tokens -= tokens
        self.next_share = until if until < 1 else 0.0
        self.next_index += until == 1
        return BatchItem(self.key, index, Part(until, tokens, (until - before) * total))

    def restart(self, index: int) -> None:
        """Let item `index`, whose last part was the last to be taken, run once more."""
        assert (self.next_index, self.next_share) == (index + 1, 0), "a later item has begun: this is a bug"
        self.next_index = index
        self.waiting_tokens += self.lengths[index]

    def response_ratio(self, now: float, seconds_per_token: float) -> float:
        """(waited + s) / s, where s is the service time of the whole job, at least that of one token.

        Brinch Hansen's "highest response ratio next", per request: a short request passes a long one at once, and a
        long one that has waited has its turn. Per item, the rule would be first come, first served. With the service
        time that is left instead of the whole, the last batches of each bulk job would pass every query: its p99 would
        be 6 batches instead of 3 (benchmarks/results/simulation.md).
        """
        service_s = self.service_tokens * seconds_per_token
        return (now - self.arrived + service_s) / service_s


# The model of some jobs, whether they share no batch, and their service tokens.
_Size = tuple[str, bool, int]
# Jobs by key, each with its number in the order of arrival. A dict would walk over those that were removed before.
_Line = OrderedDict[Key, tuple[int, Job]]


class JobQueue:
    """The jobs that have waiting items. Add them in the order of their arrival.

    Jobs of one caller, model and size stand in one line: among them, the response ratio is the order of arrival. So
    add(), drop() and take() cost the same however many jobs wait, and in_turn() looks at the heads of the lines only.
    """

    def __init__(self, jobs: Iterable[Job] = ()) -> None:
        self._jobs: dict[Key, Job] = {}
        self._lines: dict[str, dict[_Size, _Line]] = {}
        self._numbers = count()
        self._items: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._alone = 0
        # The jobs that have begun an item in parts, and wait with the rest of it.
        self._begun: set[Key] = set()
        for job in jobs:
            self.add(job)

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def callers(self) -> Iterable[str]:
        """Who has a job in the queue."""
        return self._lines.keys()

    @property
    def models(self) -> Iterable[str]:
        """The models that jobs wait for."""
        return [model for model, items in self._items.items() if items]

    @property
    def holds_alone(self) -> bool:
        """Whether a job waits that shares no batch."""
        return self._alone > 0

    def waiting(self, model: str) -> tuple[int, int]:
        """The items and the tokens that wait for a model."""
        return self._items[model], self._tokens[model]

    def may_join(self, model: str) -> bool:
        """Whether an item waits for a model that could be in a batch with others."""
        lines = (line for own in self._lines.values() for size, line in own.items() if size[0] == model)
        return any(not job.is_split for line in lines for _, job in line.values())

    def may_run(self, job: Job) -> bool:
        """Whether a job may be in the next batch: it would not be one text too many that is computed in parts."""
        return len(self._begun) < MAX_SPLIT_TEXTS or job.key in self._begun or not job.is_split

    def add(self, job: Job) -> None:
        """Let a job wait; one without items does not."""
        if not job.waiting:
            return
        line = self._lines.setdefault(job.caller, {}).setdefault(_size(job), OrderedDict())
        line[job.key] = next(self._numbers), job
        self._jobs[job.key] = job
        if job.next_share:
            self._begun.add(job.key)
        self._count(job, job.waiting, job.waiting_tokens)
        self._alone += job.alone

    def drop(self, key: Key) -> None:
        """Forget a job, if it waits."""
        job = self._jobs.pop(key, None)
        if job is None:
            return
        self._begun.discard(key)
        lines = self._lines[job.caller]
        line = lines[_size(job)]
        del line[key]
        if not line:
            del lines[_size(job)]
        if not lines:
            del self._lines[job.caller]
        self._count(job, -job.waiting, -job.waiting_tokens)
        self._alone -= job.alone

    def take(self, job: Job, items: int) -> range:
        """Count the next items of a job as taken and return their indexes. Drop the job after its last item."""
        before = job.waiting_tokens
        indexes = range(job.next_index, job.next_index + items)
        for _ in indexes:
            job.take()
        self._count(job, -items, job.waiting_tokens - before)
        return indexes

    def take_part(self, job: Job, work: int) -> "BatchItem":
        """Count a part of the next item of a job as taken. Drop the job after its last item."""
        before = job.waiting, job.waiting_tokens
        item = job.take_part(work)
        self._count(job, job.waiting - before[0], job.waiting_tokens - before[1])
        (self._begun.add if job.next_share else self._begun.discard)(job.key)
        return item

    def in_turn(self, now: float, seconds_per_token: Mapping[str, float], model: str | None = None) -> Iterator[Job]:
        """The jobs of each caller by response ratio, merged so that each caller gets its share; lazily.

        Add and drop no job before the iteration is over. With a `model`: its jobs alone, without those that share no
        batch.
        """
        if len(self._lines) < 2:
            return _by_ratio(next(iter(self._lines.values()), {}), now, seconds_per_token, model)
        turns = (_turns(own, now, seconds_per_token, model) for own in self._lines.values())
        return (job for _, job in heapq.merge(*turns, key=lambda turn: -turn[0]))

    def _count(self, job: Job, items: int, tokens: int) -> None:
        self._items[job.model] += items
        self._tokens[job.model] += tokens


@dataclass(frozen=True, slots=True)
class Part:
    """Of an item, up to the share `until` of its pass: the tokens that count for it, and its work (pass_work)."""

    until: float
    tokens: int
    work: float


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One item of one job, or a part of it."""

    key: Key
    index: int
    part: Part | None = None


def take_batch(
    queue: JobQueue, limits: BatchLimits, now: float, seconds_per_token: Mapping[str, float]
) -> list[BatchItem]:
    """Take the next batch: the job whose turn it is first, then jobs of the same model that fit.

    `seconds_per_token` is keyed by model. The items of a job stay next to each other. An item that is over the limits
    runs alone, and so does a part of one. Jobs that have nothing waiting any more leave the queue.
    """
    first = next(filter(queue.may_run, queue.in_turn(now, seconds_per_token)), None)
    if first is None:
        return []
    if first.is_split:
        return [_take_part(queue, first, limits)]
    others = () if first.alone else queue.in_turn(now, seconds_per_token, first.model)
    items: list[BatchItem] = []
    ended: list[Key] = []
    tokens = misfits = 0
    for job in chain([first], (job for job in others if job is not first and not job.is_split)):
        added = _take_from(queue, job, items, tokens, limits)
        tokens += added
        misfits += not added
        if not job.waiting:
            ended.append(job.key)
        if tokens >= limits.max_tokens or len(items) >= limits.max_items or misfits == MAX_MISFITS:
            break
    for key in ended:
        queue.drop(key)
    return items


def _size(job: Job) -> _Size:
    return job.model, job.alone, job.service_tokens


def _by_ratio(
    own: Mapping[_Size, _Line], now: float, seconds_per_token: Mapping[str, float], model: str | None
) -> Iterator[Job]:
    """The jobs of one caller by response ratio, and those with the same one in the order of their arrival."""
    heads: list[tuple[float, int, Job, float, Iterator[tuple[int, Job]]]] = []
    for size, line in own.items():
        if model is None or size[:2] == (model, False):
            rest = iter(line.values())
            number, job = next(rest)
            speed = seconds_per_token[job.model]
            heads.append((-job.response_ratio(now, speed), number, job, speed, rest))
    heapq.heapify(heads)
    while heads:
        _, _, job, speed, rest = heads[0]
        yield job
        if following := next(rest, None):
            number, job = following
            heapq.heapreplace(heads, (-job.response_ratio(now, speed), number, job, speed, rest))
        else:
            heapq.heappop(heads)


def _turns(
    own: Mapping[_Size, _Line], now: float, seconds_per_token: Mapping[str, float], model: str | None
) -> Iterator[tuple[float, Job]]:
    """The jobs of one caller with their response ratios among those of other callers.

    There the service time of a job includes that of its caller's other jobs, each up to the job's own: so long would
    the caller expect to wait if it had the device for itself. Callers that always have n jobs waiting get equal
    shares of the device, whatever n is, because the ratios are equal when waiting times are as n to n.
    """
    ahead_s = _seconds_ahead(own, seconds_per_token)
    turn = float("inf")
    for job in _by_ratio(own, now, seconds_per_token, model):
        # A job's turn is not before that of its caller's jobs which precede it.
        turn = min(turn, (now - job.arrived) / ahead_s[_size(job)])
        yield turn, job


def _seconds_ahead(own: Mapping[_Size, _Line], seconds_per_token: Mapping[str, float]) -> dict[_Size, float]:
    """The service times of all jobs of a caller, each up to the one of a size, by size."""
    left = sum(map(len, own.values()))
    ahead_s, shorter_s = {}, 0.0
    for seconds, size in sorted((size[2] * seconds_per_token[size[0]], size) for size in own):
        ahead_s[size] = shorter_s + seconds * left
        shorter_s += seconds * len(own[size])
        left -= len(own[size])
    return ahead_s


def _take_part(queue: JobQueue, job: Job, limits: BatchLimits) -> BatchItem:
    item = queue.take_part(job, limits.part_work)
    if not job.waiting:
        queue.drop(job.key)
    return item


def _take_from(queue: JobQueue, job: Job, items: list[BatchItem], tokens: int, limits: BatchLimits) -> int:
    """Move items of a job into the batch while they fit, and return the tokens that they add."""
    added = taken = 0
    for index in range(job.next_index, min(len(job.lengths), job.next_index + limits.max_items - len(items))):
        cost = job.lengths[index] - (job.shared[index] if taken else 0)
        if (items or taken) and tokens + added + cost > limits.max_tokens:
            break
        taken += 1
        added += cost
    items += [BatchItem(job.key, index) for index in queue.take(job, taken)]
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
