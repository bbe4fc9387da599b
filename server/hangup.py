"""Waiting for an answer without losing sight of the client."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

from server.errors import ClientGone

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


async def answer_or_gone(future: asyncio.Future[T], receive: Receive, timeout_s: float) -> T:
    """The future's result, if it comes before the client hangs up and before the time is over.

    Raises: ClientGone, TimeoutError; the future is left as it is, the caller cancels its work.
    """
    # uvicorn does not cancel a handler when the client hangs up (tests/server/test_hangup.py).
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
