"""An engine in a thread of this process: for tests, and where one process is all there may be."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self

from models import BackendInfo, DeviceLost
from server.admission import Admission
from server.driver import Client, Driver, FromClient, ToClient
from server.engine import Outstanding
from server.link import Cancel, Done, Failed, Report, State, Work
from server.worker import Worker

log = logging.getLogger("hearth.engine")

HERE: Client = b""


class LocalEngine:
    """`async with LocalEngine(...) as engine`: the thread loads the models, serves, and ends with the block.

    `make_worker` runs in the thread, which owns what it loads.
    """

    def __init__(self, make_worker: Callable[[], Worker], admission: Admission) -> None:
        self._make_worker = make_worker
        self._admission = admission
        self._outstanding = Outstanding()
        self._inbox = _Inbox()
        self._state = State("loading")
        self._info: Mapping[str, BackendInfo] = {}
        self._draining = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._main, name="hearth-engine", daemon=True)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._inbox.close()
        await asyncio.to_thread(self._thread.join)
        self._outstanding.fail_all()

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each model is run, by id; empty while they load."""
        return self._info

    def state(self) -> State:
        """How the engine is and what waits."""
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
        self._inbox.put(work)
        return future

    def cancel(self, work_id: int) -> None:
        """Drop what of a request has not been launched."""
        if future := self._outstanding.remove(work_id):
            future.cancel()
            self._inbox.put(Cancel(work_id))

    def drain(self) -> None:
        """Refuse new work from now on."""
        self._draining = True

    def _undrained(self) -> State:
        waiting = self._outstanding
        return replace(self._state, waiting_items=waiting.items, waiting_tokens=waiting.tokens)

    def _main(self) -> None:
        try:
            worker = self._make_worker()
            self._call(self._heard, HERE, Report(worker.state(), worker.info))
            Driver(worker, _Port(self._inbox, self._send), lambda _: None).run()
        except DeviceLost as error:
            self._call(self._failed, f"the device was lost: {error}")
        except Exception as error:  # the thread's edge: everybody is told
            log.exception("the engine stopped")
            self._call(self._failed, str(error))

    def _send(self, client: Client, message: ToClient) -> bool:
        self._call(self._heard, client, message)
        return True

    def _call(self, step: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None, "an engine's thread without its loop"
        self._loop.call_soon_threadsafe(step, *arguments)

    def _heard(self, client: Client, message: ToClient) -> None:
        if isinstance(message, Report):
            self._state, self._info = message.state, message.info
        else:
            self._outstanding.answer(message)

    def _failed(self, reason: str) -> None:
        self._state = State("failed", reason=reason)
        self._outstanding.fail_all()


class _Inbox:
    """Messages for the thread; None closes it."""

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


class _Port:
    """The inbox as a driver sees it, with a single client."""

    def __init__(self, inbox: _Inbox, send: Callable[[Client, ToClient], bool]) -> None:
        self._inbox = inbox
        self.send = send

    def receive(self, wait_s: float | None) -> Iterable[tuple[Client, FromClient]]:
        return ((HERE, message) for message in self._inbox.take(wait_s))

    @property
    def closed(self) -> bool:
        return self._inbox.closed
