"""What the HTTP side knows of an engine, and what each engine's near side needs: answers that are waited for."""

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from models import BackendInfo
from server.engine.admission import Admission
from server.engine.messages import (
    CancelRequest,
    EngineFailure,
    EngineReport,
    EngineRequest,
    EngineResult,
    EngineState,
    QueueStats,
)


class Engine(Protocol):
    """Takes work and answers it, each exactly once. Methods belong to the event loop's thread."""

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each model is run, by id; empty while they load."""
        ...

    def state(self) -> EngineState:
        """How the engine is and what waits, running batches included; never waits for a batch."""
        ...

    def check_open(self) -> None:
        """Refuse before a body is read what would be refused whatever it holds.

        Raises: ModelLoading, Draining, Unavailable, QueueFull: no model takes anything.
        """
        ...

    def check_room(self, model: str, tokens: int, items: int) -> None:
        """Refuse early, before anything is tokenised; `tokens` and `items` are the least that will come.

        Raises: ModelLoading, Draining, Unavailable, QueueFull, TooLate.
        """
        ...

    def new_id(self) -> int:
        """An id for a Work that no other Work of this engine has."""
        ...

    def submit(self, work: EngineRequest) -> asyncio.Future[EngineResult | EngineFailure]:
        """Admit all of a request or none of it.

        Raises: as check_room().
        """
        ...

    def cancel(self, work_id: int) -> None:
        """Nobody waits for a request any more: what of it has not been launched never will be."""
        ...

    def drain(self) -> None:
        """Refuse new work from now on."""
        ...


class EngineClient:
    """What the near side of every engine does: admit, send, remember who waits, hear the answers. Subclasses send."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._outstanding = PendingRequests()
        # As the engine last reported: what waits there of other processes' requests. Our own are counted here.
        self._reported = EngineState("loading")
        self._info: Mapping[str, BackendInfo] = {}
        self._draining = False

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each model is run, by id; empty while they load."""
        return self._info

    def state(self) -> EngineState:
        """How the engine is, and what waits."""
        found = self._undrained()
        return replace(found, phase="draining") if self._draining else found

    def check_open(self) -> None:
        """Refuse before a body is read."""
        self._admission.check_open(self.state(), self._info)

    def check_room(self, model: str, tokens: int, items: int) -> None:
        """Refuse early."""
        self._admission.check(self.state(), model, tokens, items)

    def new_id(self) -> int:
        """An id for a Work."""
        return self._outstanding.new_id()

    def submit(self, work: EngineRequest) -> asyncio.Future[EngineResult | EngineFailure]:
        """Admit all of a request or none of it."""
        # What got this far was open when it came, and is answered also while we drain.
        self._admission.check(self._undrained(), work.model, work.unique_tokens, len(work.ids))
        future = self._outstanding.add(work)
        self._send(work)
        return future

    def cancel(self, work_id: int) -> None:
        """Drop what of a request has not been launched."""
        if future := self._outstanding.remove(work_id):
            future.cancel()
            self._send(CancelRequest(work_id))

    def drain(self) -> None:
        """Refuse new work from now on."""
        self._draining = True

    def fail(self, reason: str) -> None:
        """The engine will not come back."""
        self._reported = EngineState("failed", reason=reason)
        self._outstanding.fail_all()

    def _send(self, message: EngineRequest | CancelRequest) -> None:
        raise NotImplementedError

    def _hear(self, message: EngineReport | EngineResult | EngineFailure) -> None:
        if isinstance(message, EngineReport):
            self._reported, self._info = message.state, message.info
        else:
            self._outstanding.answer(message)

    def _undrained(self) -> EngineState:
        own, others = self._outstanding.waiting, self._reported
        queues = {model: _joined(others.queue(model), own.get(model, (0, 0))) for model in {*own, *others.queues}}
        return EngineState(others.phase, queues, others.reason)


def _joined(others: QueueStats, own: tuple[int, int]) -> QueueStats:
    return QueueStats(others.items + own[0], others.tokens + own[1], others.tokens_per_s)


class PendingRequests:
    """The requests of one event loop that wait for their answers."""

    def __init__(self) -> None:
        self._futures: dict[int, asyncio.Future[EngineResult | EngineFailure]] = {}
        self._ids = itertools.count(1)
        self._sizes: dict[int, tuple[str, int, int]] = {}
        # Of each model, items and tokens.
        self.waiting: dict[str, tuple[int, int]] = {}

    def new_id(self) -> int:
        """Never the same twice."""
        return next(self._ids)

    def add(self, work: EngineRequest) -> asyncio.Future[EngineResult | EngineFailure]:
        """Wait for the answer to `work`."""
        future: asyncio.Future[EngineResult | EngineFailure] = asyncio.get_running_loop().create_future()
        self._futures[work.id] = future
        self._sizes[work.id] = (work.model, len(work.ids), work.unique_tokens)
        self._count(work.model, len(work.ids), work.unique_tokens)
        return future

    def remove(self, work_id: int) -> asyncio.Future[EngineResult | EngineFailure] | None:
        """The future of a request that is no longer outstanding; None when it was not."""
        future = self._futures.pop(work_id, None)
        if future is not None:
            model, items, tokens = self._sizes.pop(work_id)
            self._count(model, -items, -tokens)
        return future

    def answer(self, message: EngineResult | EngineFailure) -> None:
        """Give an answer to whoever waits for it; nobody may."""
        future = self.remove(message.id)
        if future is not None and not future.done():
            future.set_result(message)

    def _count(self, model: str, items: int, tokens: int) -> None:
        before = self.waiting.get(model, (0, 0))
        self.waiting[model] = (before[0] + items, before[1] + tokens)

    def fail_all(self) -> None:
        """The engine is gone: nothing that was sent to it will be answered."""
        for work_id in list(self._futures):
            self.answer(EngineFailure(work_id, "unavailable"))
