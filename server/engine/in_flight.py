"""A batch from its launch to its rows. One that does not fit into the device's memory is run again in halves."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models import Backend, DeviceLost, Item, NonFinite, OutOfMemory, Pending, Row
from server.engine.batching import AdaptiveBatchLimits, Job
from server.engine.messages import EngineFailure, EngineRequest, EngineResult, Timings

log = logging.getLogger("hearth.engine")


@dataclass(slots=True)
class RequestState:
    """A request between its arrival and its answer."""

    work: EngineRequest
    job: Job
    started: float = 0.0
    forward_s: float = 0.0
    batches: int = 0
    rows: dict[int, Row] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InFlightBatch:
    """A batch on the device."""

    model: str
    places: Sequence[tuple[RequestState, int]]
    items: Sequence[Item]
    pending: Pending
    tokens: int
    launched: float
    host_s: float
    is_full: bool = False  # something of the same model had to wait for the next
    is_part: bool = False  # of a batch that was out of memory as a whole


class BatchCollector:
    """Waits for batches and gives each item its row, or why it has none."""

    def __init__(self, backends: Mapping[str, Backend], budget: AdaptiveBatchLimits) -> None:
        self._backends, self._budget = backends, budget

    def rows(self, flight: InFlightBatch) -> Sequence[Row | EngineFailure]:
        """One row an item, or why it has none.

        Raises: DeviceLost.
        """
        rows: Sequence[Row | EngineFailure] | None
        try:
            rows = _read(flight.pending)
        except OutOfMemory:
            rows = None  # the halves run when the error is gone, and with it what its frames hold on the device
        except DeviceLost:
            raise
        except Exception:  # a batch's edge: its requests fail, the next batch runs
            log.exception("a batch of %d items failed", len(flight.items))
            return [EngineFailure(0, "internal")] * len(flight.items)
        if rows is None:
            return self._halves(flight)
        if not flight.is_part:
            # The halves of a batch that did not fit say nothing about one of full size.
            self._budget.note_good()
        return rows

    def _halves(self, flight: InFlightBatch) -> Sequence[Row | EngineFailure]:
        count = len(flight.items)
        if count == 1:
            return [EngineFailure(0, "out_of_memory")]
        if not flight.is_part:
            # Once a batch, not at every step on the way to the one item that does not fit.
            self._budget.shrink(flight.tokens)
            log.warning("out of memory with %d items; a batch has %d tokens now", count, self._budget.limits.max_tokens)
        return [
            row for half in (slice(count // 2), slice(count // 2, None)) for row in self.rows(self._again(flight, half))
        ]

    def _again(self, flight: InFlightBatch, part: slice) -> InFlightBatch:
        items, places = flight.items[part], flight.places[part]
        pending = launched(self._backends[flight.model], items, keep_prefix=False)
        return replace(flight, places=places, items=items, pending=pending, tokens=unique_tokens(places), is_part=True)


class _Raising:
    """A batch that failed before it was on the device."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def done(self) -> bool:
        return True

    def rows(self) -> list[Row]:
        raise self._error


def launched(backend: Backend, items: Sequence[Item], *, keep_prefix: bool) -> Pending:
    """Launch a batch; what goes wrong is raised where its rows are asked for."""
    try:
        return backend.launch(items, keep_prefix=keep_prefix)
    except Exception as error:  # what launch() raises is dealt with where rows() would raise it
        return _Raising(error)


def _read(pending: Pending) -> Sequence[Row | EngineFailure]:
    try:
        return pending.rows()
    except NonFinite as error:
        bad = set(error.indexes)
        return [EngineFailure(0, "non_finite") if place in bad else row for place, row in enumerate(error.rows)]


def unique_tokens(places: Sequence[tuple[RequestState, int]]) -> int:
    """Tokens that are computed: what an item shares with its neighbour counts once."""
    total, before = 0, (0, -1)
    for running, index in places:
        joins = before == (id(running), index - 1)
        total += running.job.lengths[index] - (running.job.shared[index] if joins else 0)
        before = (id(running), index)
    return total


def done(running: RequestState) -> EngineResult:
    """The answer of a request that has all of its rows."""
    rows = np.stack([running.rows[index] for index in range(len(running.work.ids))])
    timings = Timings(running.started - running.job.arrived, running.forward_s, running.batches)
    return EngineResult(running.work.id, rows, timings)
