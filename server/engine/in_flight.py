"""A batch from its launch to its rows. A batch that does not fit into the device's memory runs again in halves."""

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
    """A request between its arrival and its answer. `rows` has a row for each input that is done, by index."""

    request: EngineRequest
    job: Job
    started_at: float = 0.0
    forward_s: float = 0.0
    batches: int = 0
    rows: dict[int, Row] = field(default_factory=dict)

    def result(self) -> EngineResult:
        """The answer, once every input has its row."""
        rows = np.stack([self.rows[index] for index in range(len(self.request.ids))])
        timings = Timings(self.started_at - self.job.arrived, self.forward_s, self.batches)
        return EngineResult(self.request.id, rows, timings)


# An input of a request, by its index: where a row of a batch belongs.
Origin = tuple[RequestState, int]


@dataclass(frozen=True, slots=True)
class InFlightBatch:
    """A batch on the device. Row i belongs to `origins[i]`."""

    model: str
    origins: Sequence[Origin]
    items: Sequence[Item]
    pending: Pending
    tokens: int
    launched_at: float
    host_s: float
    is_full: bool = False  # inputs of the same model had to wait for the next batch
    is_part: bool = False  # part of a batch that did not fit into memory


class BatchCollector:
    """Waits for batches and reads their rows. Belongs to the scheduler's thread."""

    def __init__(self, backends: Mapping[str, Backend], batch_limits: AdaptiveBatchLimits) -> None:
        self._backends, self._batch_limits = backends, batch_limits

    def rows(self, batch: InFlightBatch) -> Sequence[Row | EngineFailure]:
        """One row for each item, or the reason why it has none. Blocks until the device is done.

        Raises: DeviceLost.
        """
        rows: Sequence[Row | EngineFailure] | None
        try:
            rows = _read(batch.pending)
        except OutOfMemory:
            rows = None  # run the halves outside this block: the error's frames hold device memory
        except DeviceLost:
            raise
        except Exception:  # the edge of a batch: its requests fail, the next batch runs
            log.exception("a batch of %d items failed", len(batch.items))
            return [EngineFailure(0, "internal")] * len(batch.items)
        if rows is None:
            return self._halves(batch)
        if not batch.is_part:
            # That a half fits says nothing about a batch of full size.
            self._batch_limits.record_success()
        return rows

    def _halves(self, batch: InFlightBatch) -> Sequence[Row | EngineFailure]:
        count = len(batch.items)
        if count == 1:
            return [EngineFailure(0, "out_of_memory")]
        if not batch.is_part:
            # Once for each batch, not at every step on the way to the single item that does not fit.
            self._batch_limits.shrink(batch.tokens)
            max_tokens = self._batch_limits.limits.max_tokens
            log.warning("out of memory with %d items; the limit of a batch is now %d tokens", count, max_tokens)
        halves = (slice(count // 2), slice(count // 2, None))
        return [row for half in halves for row in self.rows(self._relaunch(batch, half))]

    def _relaunch(self, batch: InFlightBatch, part: slice) -> InFlightBatch:
        items, origins = batch.items[part], batch.origins[part]
        pending = launch(self._backends[batch.model], items, keep_prefix=False)
        tokens = unique_tokens(origins)
        return replace(batch, origins=origins, items=items, pending=pending, tokens=tokens, is_part=True)


class _FailedLaunch:
    """A batch that never reached the device."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def done(self) -> bool:
        return True

    def rows(self) -> list[Row]:
        raise self._error


def launch(backend: Backend, items: Sequence[Item], *, keep_prefix: bool) -> Pending:
    """Launch a batch. An error is raised by the rows() of the result."""
    try:
        return backend.launch(items, keep_prefix=keep_prefix)
    except Exception as error:  # rows() raises it, so that one place handles the errors of a batch
        return _FailedLaunch(error)


def _read(pending: Pending) -> Sequence[Row | EngineFailure]:
    try:
        return pending.rows()
    except NonFinite as error:
        bad = set(error.indexes)
        return [EngineFailure(0, "non_finite") if index in bad else row for index, row in enumerate(error.rows)]


def unique_tokens(origins: Sequence[Origin]) -> int:
    """Tokens that a batch computes: a prefix that an item shares with the one before it counts once."""
    total, expected = 0, (0, -1)
    for state, index in origins:
        joins = expected == (id(state), index)
        total += state.job.lengths[index] - (state.job.shared[index] if joins else 0)
        expected = (id(state), index + 1)
    return total
