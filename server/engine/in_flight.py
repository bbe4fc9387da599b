"""A batch from its launch to its rows. A batch that fails runs again in halves, down to the items that fail alone."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models import Backend, DeviceLost, Item, NonFinite, OutOfMemory, Pending, Row, SplitPass
from server.engine.batching import AdaptiveBatchLimits, Job, Part
from server.engine.messages import EngineFailure, EngineRequest, EngineResult, Reason, Timings

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
    # The pass of the input that runs in parts.
    split: SplitPass | None = None

    def result(self) -> EngineResult:
        """The answer, once every input has its row."""
        rows = np.stack([self.rows[index] for index in range(len(self.request.ids))])
        timings = Timings(self.started_at - self.job.arrived, self.forward_s, self.batches)
        return EngineResult(self.request.id, rows, timings)


# An input of a request, by its index: where a row of a batch belongs.
Origin = tuple[RequestState, int]


@dataclass(frozen=True, slots=True)
class InFlightBatch:
    """A batch on the device. Row i belongs to `origins[i]`; `states` has each request once."""

    model: str
    states: Sequence[RequestState]
    origins: Sequence[Origin]
    items: Sequence[Item]
    pending: Pending
    tokens: int
    launched_at: float
    host_s: float
    is_full: bool = False  # inputs of the same model had to wait for the next batch
    is_half: bool = False  # a part of a batch that failed as a whole
    part: Part | None = None  # the only item is computed in parts, and this is one of them


class BatchCollector:
    """Waits for batches and reads their rows. Belongs to the scheduler's thread."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        batch_limits: AdaptiveBatchLimits,
        starts: Callable[[str, Sequence[Origin], int], None],
    ) -> None:
        """`starts` is called with the model, the origins and the tokens of each part that is about to run."""
        self._backends, self._batch_limits, self._starts = backends, batch_limits, starts

    def rows(self, batch: InFlightBatch) -> Sequence[Row | EngineFailure]:
        """One row for each item, or the reason why it has none. Blocks until the device is done.

        Raises: DeviceLost.
        """
        # A batch runs again outside the handlers: the frames of its error hold device memory.
        try:
            rows = _read(batch.pending)
        except OutOfMemory:
            failure: Reason = "out_of_memory"
        except DeviceLost:
            raise
        except Exception as error:  # the edge of a batch: the items that cause it fail, the others run
            failure = "internal"
            _log_failure(batch, error)
        else:
            if not batch.is_half:
                # That a half fits says nothing about a batch of full size.
                self._batch_limits.record_success()
            return rows
        if len(batch.items) == 1:
            return [EngineFailure(0, failure)]
        if failure == "out_of_memory" and not batch.is_half:
            # Once for each batch, not at every step on the way to the single item that does not fit.
            self._shrink(batch)
        return self._halves(batch)

    def _shrink(self, batch: InFlightBatch) -> None:
        self._batch_limits.shrink(batch.tokens)
        max_tokens = self._batch_limits.limits.max_tokens
        log.warning("out of memory with %d items; the limit of a batch is now %d tokens", len(batch.items), max_tokens)

    def _halves(self, batch: InFlightBatch) -> Sequence[Row | EngineFailure]:
        middle = len(batch.items) // 2
        halves = (slice(middle), slice(middle, None))
        return [row for half in halves for row in self.rows(self._relaunch(batch, half))]

    def _relaunch(self, batch: InFlightBatch, part: slice) -> InFlightBatch:
        items, origins = batch.items[part], batch.origins[part]
        tokens = unique_tokens(origins)
        self._starts(batch.model, origins, tokens)
        pending = launch(self._backends[batch.model], items, keep_prefix=False)
        return replace(batch, origins=origins, items=items, pending=pending, tokens=tokens, is_half=True)


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


def _log_failure(batch: InFlightBatch, error: Exception) -> None:
    # One traceback for a batch, however many of its parts fail.
    count = len(batch.items)
    log.error("a batch of %d items failed: %s", count, error, exc_info=None if batch.is_half else error)


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
