"""The two ends of the ZeroMQ connection between an HTTP process and an engine process."""

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from server.engine.admission import Admission
from server.engine.client import EngineClient
from server.engine.loop import ClientId, FromClient, ToClient
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
from server.engine.status_page import CLIENT_BYTES, StatusReader
from server.shared_memory import SharedMemory

_CHECK_EVERY_S = 0.25
# While callers share the process, the event loop comes round after so many answers.
ANSWERS_IN_TURN = 2

log = logging.getLogger("hearth.engine")


class ZmqEngineClient(EngineClient):
    """The end of an HTTP process: `async with ZmqEngineClient(address, admission) as engine`.

    The engine process may end and start again meanwhile; its successor gets the requests that have no answer.
    """

    def __init__(self, address: str, admission: Admission, status: SharedMemory | None = None) -> None:
        """Speak to the engine at `address`, which tells on a page of `status` what it does."""
        super().__init__(admission)
        self._status = status
        self._address = address
        self._connected = False
        # A ZeroMQ id must not begin with a zero byte.
        self._id = b"H" + os.urandom(CLIENT_BYTES - 1)
        self._page: StatusReader | None = None
        self._is_hung = False
        self._unsent: set[asyncio.Future[Any]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._socket = zmq.asyncio.Context.instance().socket(zmq.DEALER)
        self._socket.set_hwm(0)
        self._socket.linger = 0
        self._socket.routing_id = self._id
        # Never queue a request for an engine that is gone: the next one must not get it twice.
        self._socket.immediate = True
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        self._monitor = self._socket.get_monitor_socket(events)
        self._tasks = [asyncio.create_task(main) for main in (self._watch(), self._listen(), self._check_health())]
        for task in self._tasks:
            task.add_done_callback(self._task_ended)
        self._socket.connect(self._address)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()
        self._keep_waiting()
        self._pending.fail_all()

    def _send(self, message: Message) -> None:
        sending = asyncio.ensure_future(self._socket.send_multipart(encode(message), copy=False))
        if not sending.done():
            self._unsent.add(sending)
            sending.add_done_callback(self._unsent.discard)
        sending.add_done_callback(_log_failure)

    def _task_ended(self, ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and (error := ended.exception()):
            # A report that arrived later would make the engine look ready again.
            for task in self._tasks:
                task.cancel()
            log.error("the connection to the engine failed", exc_info=error)
            self.fail(f"the connection to the engine failed: {error}")

    async def _watch(self) -> None:
        while True:
            event = await recv_monitor_message(self._monitor)
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._connect()
            else:
                self._disconnected()

    def _connect(self) -> None:
        self._connected, self._is_hung = True, False
        self._page = StatusReader(self._status) if self._status is not None else None
        self._send(Subscribe())

    def _disconnected(self) -> None:
        if self._phase != "failed":
            self._set_state(EngineState("loading", reason="the engine is starting again"))
        self._info = {}
        self._connected = False
        # What could not be sent is sent to the next engine anew.
        for sending in list(self._unsent):
            sending.cancel()
        self._lose(self._page.in_flight(self._id) if self._page else ())

    async def _check_health(self) -> None:
        """Notice that the engine hangs; the supervisor, which notices it too, replaces it."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            reason = self._page.check(time.monotonic()) if self._page and self._connected else ""
            if reason and not self._is_hung:
                self._set_state(EngineState("loading", reason=f"the engine hangs: {reason}"))
                self._give_up_later()
            elif self._is_hung and not reason:
                # It works again, and its report makes it ready.
                self._send(Subscribe())
            self._is_hung = bool(reason)

    async def _listen(self) -> None:
        for count in itertools.count(1):
            if count % ANSWERS_IN_TURN == 0 and self._queues.is_shared:
                # The answers of a batch are there at once, and each takes its time to write.
                await asyncio.sleep(0)
            frames = await self._socket.recv_multipart(copy=False)
            message = decode([frame.buffer for frame in frames])
            # A report that an engine sent before it died says nothing about the next one.
            # The loop of an engine whose batch hangs may still send reports.
            if not isinstance(message, EngineReport) or (self._connected and not self._is_hung):
                assert isinstance(message, EngineReport | EngineResult | EngineFailure), (
                    "an engine sent a message that only a client sends: this is a bug"
                )
                self._receive(message)


class ZmqTransport:
    """The end of an engine process: a ROUTER socket, to which ZeroMQ gives an id for each HTTP process."""

    closed = False

    def __init__(self, address: str) -> None:
        self._socket: zmq.Socket[Any] = zmq.Context.instance().socket(zmq.ROUTER)
        # No limit here: admission limits what may wait, in tokens and items.
        self._socket.set_hwm(0)
        self._socket.setsockopt(zmq.LINGER, 0)
        # Without it, a message to a client that is gone is dropped silently, and its requests would still run.
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A client that connects again takes over its id.
        self._socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        self._socket.bind(address)

    def receive(self, wait_s: float | None) -> Iterable[tuple[ClientId, FromClient]]:
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
                "a client sent a message that only an engine sends: this is a bug"
            )
            yield client.bytes, message

    def send(self, client: ClientId, message: ToClient) -> bool:
        try:
            self._socket.send_multipart([client, *encode(message)], copy=False)
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True


def _log_failure(sending: asyncio.Future[Any]) -> None:
    # A send fails only if the engine has just gone; then the pending request fails anyway.
    if not sending.cancelled() and (error := sending.exception()):
        log.debug("a message to the engine was not sent: %s", error)
