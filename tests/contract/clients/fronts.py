"""Hearth as clients meet it on a bad day: one whose queue is full at first, one that answers too late."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from socket import AF_INET, socket
from time import sleep
from typing import Any

import httpx
import uvicorn
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.config import Config
from server.errors import QueueFull
from tests.support.server.running_app import running_app

LATE_S = 5.0


class Busy:
    """Refuses the first request after `POST /again` as a full queue does; that route tells what came before it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._bodies: list[bytearray] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] != "POST":
            return await self._app(scope, receive, send)
        if scope["path"] == "/again":
            answer = JSONResponse({"asked": len(self._bodies), "last": self._last()})
            self._bodies.clear()
            return await answer(scope, receive, send)
        body = bytearray()
        self._bodies.append(body)
        if len(self._bodies) == 1:
            raise QueueFull(52_000, 1)

        async def note() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        return await self._app(scope, note, send)

    def _last(self) -> Any:
        return json.loads(self._bodies[-1] or "null") if self._bodies else None


class Late:
    """Answers every POST, later than a client that was told to hurry waits."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] == "POST":
            await asyncio.sleep(LATE_S)
        await self._app(scope, receive, send)


def busy_url(config: Mapping[str, Any]) -> AbstractContextManager[str]:
    """Where the busy one listens, within the block."""
    return _served(config, Busy)


def slow_url(config: Mapping[str, Any]) -> AbstractContextManager[str]:
    """Where the slow one listens, within the block."""
    return _served(config, Late)


@contextmanager
def _served(config: Mapping[str, Any], front: Callable[[ASGIApp], ASGIApp]) -> Iterator[str]:
    # In a thread, where uvicorn leaves signals alone.
    with socket(AF_INET) as listener:
        listener.bind(("127.0.0.1", 0))
        ended = threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(_serve(config, front, listener, ended)))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            _wait_until_ready(url)
            yield url
        finally:
            ended.set()
            thread.join()


def _wait_until_ready(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False, transport=httpx.HTTPTransport(retries=5)) as client:
        while client.get("/ready").status_code != 200:
            sleep(0.05)


async def _serve(
    config: Mapping[str, Any], front: Callable[[ASGIApp], ASGIApp], listener: socket, ended: threading.Event
) -> None:
    async with running_app(Config.model_validate(config)) as app:
        # Innermost, so that its refusal is written by the product, in the words of each dialect.
        app.user_middleware.append(Middleware(front))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve([listener]))
        await asyncio.to_thread(ended.wait)
        server.should_exit = True
        await serving
