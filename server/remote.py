"""The near side of an engine process: sends work, hears answers, and knows at once when the other side is gone."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from models import BackendInfo
from server.admission import Admission
from server.engine import Outstanding
from server.link import Cancel, Done, Failed, Hello, Message, Report, State, Work, decode, encode

log = logging.getLogger("hearth.engine")


class RemoteEngine:
    """`async with RemoteEngine(address, admission) as engine`; the process may start, end and start again meanwhile."""

    def __init__(self, address: str, admission: Admission) -> None:
        self._address = address
        self._admission = admission
        self._outstanding = Outstanding()
        self._others = State("loading")
        self._info: Mapping[str, BackendInfo] = {}
        self._draining = False
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
        self._socket.connect(self._address)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()
        self._outstanding.fail_all()

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each model is run, by id; empty while they load."""
        return self._info

    def state(self) -> State:
        """How the engine is, and what waits: our own requests as counted here, others' as last reported."""
        found = self._undrained()
        return replace(found, phase="draining") if self._draining else found

    def check_open(self, tokens: int = 0, items: int = 0) -> None:
        """Refuse early."""
        self._admission.check(self.state(), tokens, items)

    def new_id(self) -> int:
        """An id for a Work."""
        return self._outstanding.new_id()

    def submit(self, work: Work) -> asyncio.Future[Done | Failed]:
        """Admit all of a request or none of it."""
        # What got this far was open when it came, and is answered also while we drain.
        self._admission.check(self._undrained(), work.unique_tokens, len(work.ids))
        future = self._outstanding.add(work)
        self._send(work)
        return future

    def cancel(self, work_id: int) -> None:
        """Drop what of a request has not been launched."""
        if future := self._outstanding.remove(work_id):
            future.cancel()
            self._send(Cancel(work_id))

    def drain(self) -> None:
        """Refuse new work from now on."""
        self._draining = True

    def fail(self, reason: str) -> None:
        """The process will not come back."""
        self._others = State("failed", reason=reason)
        self._outstanding.fail_all()

    def _undrained(self) -> State:
        own, others = self._outstanding, self._others
        return replace(
            others, waiting_items=own.items + others.waiting_items, waiting_tokens=own.tokens + others.waiting_tokens
        )

    def _send(self, message: Message) -> None:
        sent = asyncio.ensure_future(self._socket.send_multipart(encode(message), copy=False))
        if not sent.done():
            self._unsent.add(sent)
            sent.add_done_callback(self._unsent.discard)
        sent.add_done_callback(_look_at)

    async def _watch(self) -> None:
        while True:
            event = await recv_monitor_message(self._monitor)
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._connected = True
                self._send(Hello())
            else:
                self._lost()

    def _lost(self) -> None:
        if self._others.phase != "failed":
            self._others = State("loading", reason="the engine is starting again")
        self._info = {}
        self._connected = False
        self._outstanding.fail_all()
        # What could not be sent any more is not for the next engine.
        for sent in list(self._unsent):
            sent.cancel()

    async def _listen(self) -> None:
        while True:
            frames = await self._socket.recv_multipart(copy=False)
            message = decode([frame.buffer for frame in frames])
            # A report that an engine had sent before it died says nothing about the next one.
            if isinstance(message, Report) and self._connected:
                self._others, self._info = message.state, message.info
            elif isinstance(message, Done | Failed):
                self._outstanding.answer(message)


def _look_at(sent: asyncio.Future[Any]) -> None:
    # A send fails only when the engine has just gone; then every answer that is waited for fails anyway.
    if not sent.cancelled() and (error := sent.exception()):
        log.debug("not sent: %s", error)
