"""The scheduler of one device: adds what arrives, launches and collects batches, answers each request once.

It belongs to one thread, which does nothing else. It never waits: wait_s() says how long its owner may.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np

from models import Backend, BackendInfo, DeviceLost, Item, NonFinite, OutOfMemory, Pending, Row
from server.batching import Job, Key, Limits, take_batch
from server.budget import Budget
from server.link import Done, Failed, State, Timings, Work
from server.speed import Speed

log = logging.getLogger("hearth.engine")

Answer = tuple[Key, Done | Failed]
# The second batch is bound when the rest of the first is about this many host times (DESIGN: scheduling).
BIND_AT_HOST_TIMES = 1.5
# How often a batch in flight is looked at.
POLL_S = 50e-6


@dataclass(frozen=True, slots=True)
class BatchNote:
    """What operators hear of a batch: how full it was and where its time went."""

    model: str
    items: int
    tokens: int
    fill: float
    host_s: float
    device_s: float


@dataclass(slots=True)
class _Running:
    """A request between its arrival and its answer."""

    work: Work
    job: Job
    started: float = 0.0
    forward_s: float = 0.0
    batches: int = 0
    rows: dict[int, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A batch on the device."""

    model: str
    places: Sequence[tuple[_Running, int]]
    items: Sequence[Item]
    pending: Pending
    tokens: int
    launched: float
    host_s: float
    is_part: bool = False  # of a batch that was out of memory as a whole


class Worker:
    """One device's backends and queue. `clock` counts seconds."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        limits: Limits,
        note: Callable[[BatchNote], None] = lambda _: None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._backends = backends
        self._budget = Budget(limits)
        self._note = note
        self._clock = clock
        self._running: dict[Key, _Running] = {}
        # Of those, the jobs with something that was not launched yet.
        self._waiting: dict[Key, Job] = {}
        self._flights: deque[_Flight] = deque()
        self._speed = Speed()
        self._free_since = clock()
        self._busy_since: float | None = None
        # The CPU computes in launch(): a second batch would only be bound earlier.
        self._depth = 1 if all(backend.info.device == "cpu" for backend in backends.values()) else 2

    @property
    def info(self) -> dict[str, BackendInfo]:
        """How each model is run, by id."""
        return {model: backend.info for model, backend in self._backends.items()}

    def state(self) -> State:
        """What waits, and how fast it goes."""
        jobs = self._waiting.values()
        items, tokens = sum(job.waiting for job in jobs), sum(job.waiting_tokens for job in jobs)
        return State("ready", items, tokens, self._speed.tokens_per_s)

    def batch_s(self) -> float:
        """For how long a batch has been under way, 0 when none is; any thread may ask."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    def add(self, key: Key, work: Work) -> None:
        """Let a request wait; `key` names it to drop() and in its answer."""
        shares = self._backends[work.model].info.shares_prefixes
        shared = work.shared.tolist() if shares else [0] * len(work.ids)
        job = Job(key, work.model, [len(ids) for ids in work.ids], shared, self._clock())
        self._running[key] = _Running(work, job)
        self._waiting[key] = job

    def drop(self, key: Key) -> None:
        """Forget a request: what of it has not been launched never will be."""
        self._running.pop(key, None)
        self._waiting.pop(key, None)

    def wait_s(self) -> float | None:
        """How long nothing need be done unless something arrives; None is for ever."""
        if not self._flights:
            return 0.0 if self._waiting else None
        if self._flights[0].pending.done() or self._may_launch():
            return 0.0
        return POLL_S

    def step(self) -> list[Answer]:
        """Launch a batch if one is due, or else collect one that is done.

        Answers are to be sent before the next step, which on a CPU computes a whole batch.

        Raises: DeviceLost: no request that waits will be answered.
        """
        if self._may_launch():
            self._launch()
        elif self._flights and self._flights[0].pending.done():
            return self._collect(self._flights.popleft())
        return []

    def _may_launch(self) -> bool:
        if len(self._flights) >= self._depth or not self._waiting:
            return False
        if not self._flights:
            return True
        # Bound at the first's start, it would cost every later query a batch; at its end, the device would idle.
        return self._rest_s(self._flights[0]) <= BIND_AT_HOST_TIMES * self._speed.host_s

    def _rest_s(self, flight: _Flight) -> float:
        started = max(flight.launched, self._free_since)
        return started + self._speed.seconds(flight.tokens) - self._clock()

    def _launch(self) -> None:
        started = self._clock()
        self._busy_since = self._busy_since or started
        entries = take_batch(self._waiting.values(), self._budget.limits, started, self._speed.seconds_per_token)
        for key in {entry.key for entry in entries}:
            if not self._waiting[key].waiting:
                del self._waiting[key]
        places = [(self._running[entry.key], entry.index) for entry in entries]
        model = places[0][0].work.model
        items = [Item(running.work.ids[index], running.work.readout) for running, index in places]
        for running, _ in places:
            running.started = running.started or started
        more_follow = any(running.job.waiting for running, _ in places)
        pending = _launched(self._backends[model], items, more_follow=more_follow)
        host_s = self._clock() - started
        self._flights.append(_Flight(model, places, items, pending, _tokens(places), started, host_s))

    def _collect(self, flight: _Flight) -> list[Answer]:
        rows = self._rows(flight)
        now = self._clock()
        seconds = now - max(flight.launched, self._free_since)
        self._free_since = now
        self._busy_since = now if self._flights else None
        self._speed.note(flight.tokens, seconds, flight.host_s)
        fill = flight.tokens / self._budget.limits.max_tokens
        self._note(BatchNote(flight.model, len(flight.items), flight.tokens, fill, flight.host_s, seconds))
        for running in {id(running): running for running, _ in flight.places}.values():
            running.batches += 1
            running.forward_s += seconds
        taken = [self._take(running, index, row) for (running, index), row in zip(flight.places, rows, strict=True)]
        return [answer for answer in taken if answer is not None]

    def _rows(self, flight: _Flight) -> Sequence[Row | Failed]:
        try:
            rows = _read(flight.pending)
        except OutOfMemory:
            return self._halves(flight)
        except DeviceLost:
            raise
        except Exception:  # a batch's edge: its requests fail, the next batch runs
            log.exception("a batch of %d items failed", len(flight.items))
            return [Failed(0, "internal")] * len(flight.items)
        if not flight.is_part:
            # The halves of a batch that did not fit say nothing about one of full size.
            self._budget.note_good()
        return rows

    def _halves(self, flight: _Flight) -> Sequence[Row | Failed]:
        count = len(flight.items)
        if count == 1:
            return [Failed(0, "out_of_memory")]
        if not flight.is_part:
            # Once a batch, not at every step on the way to the one item that does not fit.
            self._budget.shrink(flight.tokens)
            log.warning("out of memory with %d items; a batch has %d tokens now", count, self._budget.limits.max_tokens)
        return [
            row
            for half in (slice(count // 2), slice(count // 2, None))
            for row in self._rows(self._again(flight, half))
        ]

    def _again(self, flight: _Flight, part: slice) -> _Flight:
        items, places = flight.items[part], flight.places[part]
        pending = _launched(self._backends[flight.model], items, more_follow=False)
        return replace(flight, places=places, items=items, pending=pending, tokens=_tokens(places), is_part=True)

    def _take(self, running: _Running, index: int, row: Row | Failed) -> Answer | None:
        key = running.job.key
        # By identity: a dropped key may have come again.
        if self._running.get(key) is not running:
            return None
        if isinstance(row, Failed):
            self.drop(key)
            return key, replace(row, id=running.work.id, index=index)
        running.rows[index] = row
        if len(running.rows) < len(running.work.ids):
            return None
        self.drop(key)
        return key, _done(running)


class _Raising:
    """A batch that failed before it was on the device."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def done(self) -> bool:
        return True

    def rows(self) -> list[Row]:
        raise self._error


def _launched(backend: Backend, items: Sequence[Item], *, more_follow: bool) -> Pending:
    try:
        return backend.launch(items, more_follow=more_follow)
    except Exception as error:  # what launch() raises is dealt with where rows() would raise it
        return _Raising(error)


def _read(pending: Pending) -> Sequence[Row | Failed]:
    try:
        return pending.rows()
    except NonFinite as error:
        bad = set(error.indexes)
        return [Failed(0, "non_finite") if place in bad else row for place, row in enumerate(error.rows)]


def _tokens(places: Sequence[tuple[_Running, int]]) -> int:
    """Tokens that are computed: what an item shares with its neighbour counts once."""
    total, before = 0, (0, -1)
    for running, index in places:
        joins = before == (id(running), index - 1)
        total += running.job.lengths[index] - (running.job.shared[index] if joins else 0)
        before = (id(running), index)
    return total


def _done(running: _Running) -> Done:
    rows = np.stack([running.rows[index] for index in range(len(running.work.ids))])
    timings = Timings(running.started - running.job.arrived, running.forward_s, running.batches)
    return Done(running.work.id, rows, timings)
