"""What every step of a request may use: the application's models, engine and limits, and the request itself."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeVar

from server.config import RequestLimits
from server.engine.client import Engine
from server.errors import ClientGone, DeadlineExceeded
from server.observability.trace import Trace
from server.processing.outputs.spaces import SpaceNames
from server.processing.work_queue import WorkQueue
from server.registry import ModelRegistry

# A query is tokenized in 0.05 ms; a thread starts after 12 ms while 32 clients keep the event loop busy.
SHORT_BODY_BYTES = 2048
SHORT_INPUTS = 8
# A token is rarely longer.
TOKEN_BYTES = 8

_Result = TypeVar("_Result")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class ServingContext:
    """Shared by all requests of one application."""

    registry: ModelRegistry
    engine: Engine
    limits: RequestLimits
    work: WorkQueue
    space_names: SpaceNames


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One HTTP request: its trace, size, deadline and caller, and the ASGI channel that reports a disconnect."""

    trace: Trace
    receive: Receive
    timeout_s: float
    body_bytes: int
    caller: str = ""
    # X-Hearth-Expected-Space; "" if the client sent none.
    expected_space: str = ""

    def left_s(self) -> float:
        """The time that the request may still take; negative when it is over."""
        return self.timeout_s - self.trace.seconds()

    def is_short(self, inputs: int) -> bool:
        """Whether tokenizing on the event loop is faster than starting a thread for it."""
        return inputs <= SHORT_INPUTS and self.body_bytes <= SHORT_BODY_BYTES

    def fewest_tokens(self) -> int:
        """A lower bound for the tokens in the body."""
        return self.body_bytes // TOKEN_BYTES

    async def wait_for(self, future: asyncio.Future[_Result]) -> _Result:
        """The future's result, unless the client disconnects or the time runs out first.

        Raises: ClientGone, DeadlineExceeded. The future is not cancelled: the caller owns its work.
        """
        # uvicorn does not cancel a handler when the client hangs up (tests/unit/server/processing/test_submit.py).
        disconnect = asyncio.ensure_future(_until_disconnect(self.receive))
        try:
            waiting: set[asyncio.Future[_Result] | asyncio.Future[None]] = {future, disconnect}
            await asyncio.wait(waiting, timeout=max(self.left_s(), 0), return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            if disconnect.done():
                raise ClientGone
            raise DeadlineExceeded(self.timeout_s)
        finally:
            disconnect.cancel()


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
