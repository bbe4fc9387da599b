"""What a handler works with: the served models, the engine and the limits; and the one way to get rows."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from models import Item, Row
from server.catalogue import Catalogue, ServedModel
from server.config import Limits
from server.engine import Engine
from server.errors import (
    ApiError,
    ClientGone,
    DeadlineExceeded,
    InternalError,
    NonFiniteOutput,
    TooLargeForDevice,
    Unavailable,
)
from server.hangup import Receive, answer_or_gone
from server.link import Done, Failed, Work
from server.trace import Trace

# How an error calls an item: the client's field and index.
Label = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Caller:
    """One request as the steps see it: where its time is noted, and how to tell that its client left."""

    trace: Trace
    receive: Receive
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Service:
    """One app's models, engine and limits."""

    catalogue: Catalogue
    engine: Engine
    limits: Limits
    _ids: "itertools.count[int]" = field(default_factory=itertools.count)

    async def rows(self, model: ServedModel, items: Sequence[Item], caller: Caller, label: Label) -> tuple[Row, ...]:
        """Run items and wait for all of them.

        Raises: ApiError: refused, failed or too late. ClientGone: nobody waits for the answer.
        """
        work = Work(next(self._ids), model.id, tuple(items))
        left_s = caller.timeout_s - caller.trace.seconds()
        future = self.engine.submit(work)
        try:
            answer = await answer_or_gone(future, caller.receive, max(left_s, 0))
        except TimeoutError:
            raise DeadlineExceeded(caller.timeout_s) from None
        finally:
            self.engine.cancel(work.id)
        return _rows_of(answer, work, caller.trace, label)


def _rows_of(answer: Done | Failed, work: Work, trace: Trace, label: Label) -> tuple[Row, ...]:
    if isinstance(answer, Failed):
        raise _error(answer, work, trace, label)
    trace.stages["queue"] = answer.timings.queue_s
    trace.stages["forward"] = answer.timings.forward_s
    return answer.rows


def _error(failed: Failed, work: Work, trace: Trace, label: Label) -> ApiError:
    if failed.reason == "unavailable":
        return Unavailable("The engine stopped while this request was waiting.", 5)
    if failed.index is not None and failed.reason == "non_finite":
        return NonFiniteOutput(label(failed.index))
    if failed.index is not None and failed.reason == "out_of_memory":
        return TooLargeForDevice(label(failed.index), len(work.items[failed.index].ids))
    return InternalError(f"Internal error. Request id {trace.request_id}.")


__all__ = ["Caller", "ClientGone", "Label", "Service"]
