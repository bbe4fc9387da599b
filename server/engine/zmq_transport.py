"""The near side of an engine process: sends work, hears answers, and knows at once when the other side is gone."""

import asyncio
import logging
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from server.engine.admission import Admission
from server.engine.client import EngineClient
from server.engine.loop import Client, FromClient, ToClient
from server.engine.messages import (
    CancelRequest,
    EngineFailure,
    EngineReport,
    EngineRequest,
    EngineResult,
    EngineState,
    Message,
    Subscribe,
    decode,
    encode,
)


class ZmqTransport:
    """A ROUTER socket: every HTTP process is a client with a name of ZeroMQ's giving."""

    closed = False

    def __init__(self, address: str) -> None:
        self._socket: zmq.Socket[Any] = zmq.Context.instance().socket(zmq.ROUTER)
        # No bound here: what may wait is bounded by admission, in tokens.
        self._socket.set_hwm(0)
        self._socket.setsockopt(zmq.LINGER, 0)
        # Without it a message for a client that is gone would be dropped in silence, and its work be done for nobody.
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.bind(address)

    def receive(self, wait_s: float | None) -> Iterable[tuple[Client, FromClient]]:
        """Yield what has arrived."""
        if wait_s is not None and 0 < wait_s < 1e-3:
            # poll() counts in milliseconds, and a batch in flight ends sooner.
            time.sleep(wait_s)
        if not self._socket.poll(None if wait_s is None else int(wait_s * 1000)):
            return
        while True:
            try:
                client, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            message = decode([frame.buffer for frame in frames])
            assert isinstance(message, EngineRequest | CancelRequest | Subscribe), (
                "a client sent what only an engine sends"
            )
            yield client.bytes, message

    def send(self, client: Client, message: ToClient) -> bool:
        """Send without waiting; False when the client is gone."""
        try:
            self._socket.send_multipart([client, *encode(message)], copy=False)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True


log = logging.getLogger("hearth.engine")


class ZmqEngineClient(EngineClient):
    """`async with ZmqEngineClient(address, admission) as engine`. The process may end and start again meanwhile."""

    def __init__(self, address: str, admission: Admission) -> None:
        super().__init__(admission)
        self._address = address
        self._connected = False
        self._unsent: set[asyncio.Future[Any]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        self._socket.set_hwm(0)
        self._socket.linger = 0
        # Work for an engine that is gone must not wait for the next one: its client was told 503.
        self._socket.immediate = True
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        self._monitor = self._socket.get_monitor_socket(events)
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._listen())]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        self._socket.connect(self._address)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()
        self._pending.fail_all()

    def _send(self, message: Message) -> None:
        sent = asyncio.ensure_future(self._socket.send_multipart(encode(message), copy=False))
        if not sent.done():
            self._unsent.add(sent)
            sent.add_done_callback(self._unsent.discard)
        sent.add_done_callback(_look_at)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            # A report that was still heard would make the engine look ready again.
            for each in self._tasks:
                each.cancel()
            log.error("the engine can no longer be heard", exc_info=error)
            self.fail(f"the engine can no longer be heard: {error}")

    async def _watch(self) -> None:
        while True:
            event = await recv_monitor_message(self._monitor)
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._connected = True
                self._send(Subscribe())
            else:
                self._lost()

    def _lost(self) -> None:
        if self._phase != "failed":
            self._set_state(EngineState("loading", reason="the engine is starting again"))
        self._info = {}
        self._connected = False
        self._pending.fail_all()
        # What could not be sent any more is not for the next engine.
        for sent in list(self._unsent):
            sent.cancel()

    async def _listen(self) -> None:
        while True:
            frames = await self._socket.recv_multipart(copy=False)
            message = decode([frame.buffer for frame in frames])
            # A report that an engine had sent before it died says nothing about the next one.
            if self._connected or not isinstance(message, EngineReport):
                assert isinstance(message, EngineReport | EngineResult | EngineFailure), (
                    "an engine sent what only a client sends"
                )
                self._receive(message)


def _look_at(sent: asyncio.Future[Any]) -> None:
    # A send fails only when the engine has just gone; then every answer that is waited for fails anyway.
    if not sent.cancelled() and (error := sent.exception()):
        log.debug("not sent: %s", error)
