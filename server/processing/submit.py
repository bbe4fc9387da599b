"""What a handler works with: the served models, the engine and the limits; and the one way to get rows."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from models import Ids, Matrix, PrefixOrder, Readout
from server.config import RequestLimits
from server.engine.client import Engine
from server.engine.messages import EngineFailure, EngineRequest
from server.errors import (
    ApiError,
    ClientGone,
    DeadlineExceeded,
    InternalError,
    NonFiniteOutput,
    TooLargeForDevice,
    Unavailable,
)
from server.observability.trace import Trace
from server.registry import ModelRegistry, ServedModel

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def answer_or_gone(future: asyncio.Future[T], receive: Receive, timeout_s: float) -> T:
    """The future's result, if it comes before the client hangs up and before the time is over.

    Raises: ClientGone, TimeoutError; the future is left as it is, the caller cancels its work.
    """
    # uvicorn does not cancel a handler when the client hangs up (tests/unit/server/processing/test_submit.py).
    gone = asyncio.ensure_future(_until_disconnect(receive))
    try:
        waiting: set[asyncio.Future[T] | asyncio.Future[None]] = {future, gone}
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if future.done():
            return future.result()
        if gone.done():
            raise ClientGone
        raise TimeoutError
    finally:
        gone.cancel()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# A query is tokenised in 0.05 ms; a thread begins after 12 when 32 clients keep the event loop busy.
SHORT_BODY_BYTES = 2048
SHORT_INPUTS = 8

# How an error calls an input: the client's field and index.
Label = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Caller:
    """One request as the steps see it: where its time is noted, and how to tell that its client left."""

    trace: Trace
    receive: Receive
    timeout_s: float
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Service:
    """One app's models, engine and limits."""

    registry: ModelRegistry
    engine: Engine
    limits: RequestLimits

    async def rows(
        self, model: ServedModel, inputs: PrefixOrder, readout: Readout, caller: Caller, label: Label
    ) -> Matrix:
        """Run inputs and wait for all of them: [n, d] in the request's order, finite.

        Raises: ApiError: refused, failed or too late. ClientGone: nobody waits for the answer.
        """
        work = EngineRequest(self.engine.new_id(), model.id, readout, inputs.ids, inputs.shared)
        left_s = caller.timeout_s - caller.trace.seconds()
        future = self.engine.submit(work)
        try:
            answer = await answer_or_gone(future, caller.receive, max(left_s, 0))
        except TimeoutError:
            raise DeadlineExceeded(caller.timeout_s) from None
        finally:
            self.engine.cancel(work.id)
        if isinstance(answer, EngineFailure):
            raise _error(answer, inputs, caller.trace, label)
        caller.trace.stages["queue"] = answer.timings.queue_s
        caller.trace.stages["forward"] = answer.timings.forward_s
        return _checked(_in_request_order(answer.rows, inputs), label)


def _in_request_order(rows: Matrix, inputs: PrefixOrder) -> Matrix:
    ordered = np.empty_like(rows)
    ordered[inputs.order] = rows
    return ordered


def _checked(rows: Matrix, label: Label) -> Matrix:
    # Backends refuse such rows themselves; this is the last place before the wire, and costs next to nothing.
    if not (finite := np.isfinite(rows)).all():
        raise NonFiniteOutput(label(int(finite.all(axis=1).argmin())))
    return rows


def _error(failed: EngineFailure, inputs: PrefixOrder, trace: Trace, label: Label) -> ApiError:
    if failed.reason == "unavailable":
        return Unavailable("The engine stopped while this request was waiting.", 5)
    if failed.index is None or failed.reason == "internal":
        return InternalError(f"Internal error. Request id {trace.request_id}.")
    where = label(int(inputs.order[failed.index]))
    if failed.reason == "non_finite":
        return NonFiniteOutput(where)
    return TooLargeForDevice(where, len(inputs.ids[failed.index]))


def is_short(caller: Caller, inputs: int) -> bool:
    """Whether a request is tokenised sooner than a thread begins."""
    return inputs <= SHORT_INPUTS and caller.body_bytes <= SHORT_BODY_BYTES


def least_tokens(caller: Caller) -> int:
    """Fewer tokens than any body of this size holds: a token is rarely longer than eight bytes."""
    return caller.body_bytes // 8


def count_tokens(ids: Sequence[Ids]) -> int:
    """Tokens as `usage` counts them: every input in full, shared prefixes included."""
    return sum(map(len, ids))
