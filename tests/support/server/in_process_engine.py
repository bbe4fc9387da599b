"""An engine in a thread of this process: for tests, and for programs that embed Hearth in their own process."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from models import DeviceLost
from server.engine.admission import Admission
from server.engine.client import EngineClient
from server.engine.loop import ClientId, EngineLoop, FromClient, ToClient
from server.engine.messages import CancelRequest, EngineReport, EngineRequest
from server.engine.scheduler import Scheduler

log = logging.getLogger("hearth.engine")

ONLY_CLIENT: ClientId = b""


class InProcessEngine(EngineClient):
    """`async with InProcessEngine(...) as engine`: the thread loads the models, serves, and ends with the block.

    `make_scheduler` runs in the thread, which owns what it loads.
    """

    def __init__(self, make_scheduler: Callable[[], Scheduler], admission: Admission) -> None:
        super().__init__(admission)
        self._make_scheduler = make_scheduler
        self._inbox = _Inbox()
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._main, name="hearth-engine", daemon=True)

    async def __aenter__(self) -> Self:
        self._event_loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._inbox.close()
        await asyncio.to_thread(self._thread.join)
        self._pending.fail_all()

    def _send(self, message: EngineRequest | CancelRequest) -> None:
        self._inbox.put(message)

    def _main(self) -> None:
        try:
            scheduler = self._make_scheduler()
            self._call(self._receive, EngineReport(scheduler.state(), scheduler.info))
            EngineLoop(scheduler, _InboxTransport(self._inbox, self._deliver), lambda _: None).run()
        except DeviceLost as error:
            self._call(self.fail, f"the device was lost: {error}")
        except Exception as error:  # the edge of the thread: every pending request is answered
            log.exception("the engine stopped")
            self._call(self.fail, str(error))

    def _deliver(self, client: ClientId, message: ToClient) -> bool:
        self._call(self._receive, message)
        return True

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._event_loop is not None, "the thread started before its event loop was known: this is a bug"
        self._event_loop.call_soon_threadsafe(function, *arguments)


class _Inbox:
    """Messages to the thread; None closes it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[FromClient | None] = queue.SimpleQueue()
        self.closed = False

    def put(self, message: FromClient) -> None:
        self._queue.put(message)

    def close(self) -> None:
        self._queue.put(None)

    def take(self, wait_s: float | None) -> Iterable[FromClient]:
        try:
            message = self._queue.get(block=wait_s != 0, timeout=wait_s)
            while message is not None:
                yield message
                message = self._queue.get_nowait()
        except queue.Empty:
            return
        self.closed = True


class _InboxTransport:
    """The Transport of a loop that has a single client, in the same process."""

    def __init__(self, inbox: _Inbox, send: Callable[[ClientId, ToClient], bool]) -> None:
        self._inbox = inbox
        self.send = send

    def receive(self, wait_s: float | None) -> Iterable[tuple[ClientId, FromClient]]:
        return ((ONLY_CLIENT, message) for message in self._inbox.take(wait_s))

    @property
    def closed(self) -> bool:
        return self._inbox.closed
