"""Runs the tokenized inputs of one request on the engine and waits for their rows."""

from time import perf_counter

import numpy as np

from models import Matrix, PrefixOrder, Readout
from server.engine.messages import EngineFailure, EngineRequest
from server.errors import (
    ApiError,
    Draining,
    EngineDied,
    InternalError,
    NonFiniteOutput,
    TooLargeForDevice,
    Unavailable,
)
from server.processing.context import RequestContext, ServingContext
from server.processing.requests import Label
from server.registry import ServedModel


async def submit(
    inputs: PrefixOrder,
    readout: Readout,
    model: ServedModel,
    *,
    serving: ServingContext,
    context: RequestContext,
    label: Label,
) -> Matrix:
    """Run all inputs in one engine request.

    `label` names an input in errors by its index in the client's request.

    Returns: [inputs, width] float32, finite, in the client's order.
    Raises: ApiError: the engine refused or failed the request, or the deadline passed. ClientGone.
    """
    engine = serving.engine
    ids, shared = inputs.ids, inputs.shared
    work = EngineRequest(
        *(engine.new_id(), model.id, readout, ids, shared), caller=context.caller, sent_at=perf_counter()
    )
    future = engine.submit(work, left_s=context.left_s())
    try:
        result = await context.wait_for(future)
    finally:
        engine.cancel(work.id)
    if isinstance(result, EngineFailure):
        raise _api_error(result, inputs, context.trace.request_id, label)
    context.trace.stages["queue"] = result.timings.queue_s
    context.trace.stages["forward"] = result.timings.forward_s
    return _checked(_in_request_order(result.rows, inputs), label)


def _in_request_order(rows: Matrix, inputs: PrefixOrder) -> Matrix:
    ordered = np.empty_like(rows)
    ordered[inputs.order] = rows
    return ordered


def _checked(rows: Matrix, label: Label) -> Matrix:
    # Backends refuse such rows themselves; this is the last check before the response, and costs next to nothing.
    if not (finite := np.isfinite(rows)).all():
        raise NonFiniteOutput(label(int(finite.all(axis=1).argmin())))
    return rows


def _api_error(failure: EngineFailure, inputs: PrefixOrder, request_id: str, label: Label) -> ApiError:
    if failure.reason == "draining":
        return Draining()
    if failure.reason == "engine_died":
        return EngineDied(request_id)
    if failure.reason == "unavailable":
        return Unavailable("The engine stopped while this request was waiting.", 5)
    if failure.index is None or failure.reason == "internal":
        return InternalError(f"Internal error. Request id {request_id}.")
    where = label(int(inputs.order[failure.index]))
    if failure.reason == "non_finite":
        return NonFiniteOutput(where)
    return TooLargeForDevice(where, len(inputs.ids[failure.index]))
