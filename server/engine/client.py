"""The HTTP side of an engine: what it offers to handlers, and what all engine clients have in common."""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol

from models import BackendInfo
from server.engine.admission import Admission, QueueView, check_phase
from server.engine.messages import (
    CancelRequest,
    EngineFailure,
    EngineReport,
    EngineRequest,
    EngineResult,
    EngineState,
    Phase,
)


class Engine(Protocol):
    """Accepts requests and answers each exactly once. All methods belong to the event loop's thread."""

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each model is run, by model id. A model that is still loading is absent."""
        ...

    def state(self) -> EngineState:
        """A snapshot of the phase and the queues, running batches included. Never waits for a batch."""
        ...

    def check_open(self) -> None:
        """Refuse, before its body is read, a request that would be refused whatever it holds.

        Raises: ModelLoading, Draining, Unavailable, QueueFull: no model has room.
        """
        ...

    def check_room(self, model: str, tokens: int, items: int) -> None:
        """Refuse a request before it is tokenised. `tokens` and `items` are lower bounds of its size.

        Raises: ModelLoading, Draining, Unavailable, QueueFull, TooLate.
        """
        ...

    def new_id(self) -> int:
        """An id for an EngineRequest, unique within this engine."""
        ...

    def submit(self, request: EngineRequest) -> asyncio.Future[EngineResult | EngineFailure]:
        """Admit all of a request or none of it. A draining engine still admits it: its client came in time.

        Raises: ModelLoading, Unavailable, QueueFull, TooLate.
        """
        ...

    def cancel(self, request_id: int) -> None:
        """Forget a request: its items that have not been launched never run. Does nothing if it was answered."""
        ...

    def drain(self) -> None:
        """Refuse new requests from now on."""
        ...


class EngineClient(ABC):
    """An Engine that talks to one scheduler: admits, sends, and gives each answer to its future.

    A subclass sends messages with _send(), and passes those that arrive to _receive().
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._queues = QueueView()
        self._pending = PendingRequests(self._queues)
        self._info: Mapping[str, BackendInfo] = {}
        self._phase: Phase = "loading"
        self._reason = ""
        self._draining = False

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        return self._info

    @property
    def phase(self) -> Phase:
        return "draining" if self._draining else self._phase

    @property
    def waiting_tokens(self) -> int:
        """Tokens that wait or run, of all models and processes."""
        return self._queues.waiting_tokens

    def state(self) -> EngineState:
        return EngineState(self.phase, dict(self._queues.queues), self._reason)

    def check_open(self) -> None:
        check_phase(self.phase)
        self._admission.check_open(self._queues, self._info)

    def check_room(self, model: str, tokens: int, items: int) -> None:
        check_phase(self.phase)
        self._admission.check(self._queues, model, tokens, items)

    def new_id(self) -> int:
        return self._pending.new_id()

    def submit(self, request: EngineRequest) -> asyncio.Future[EngineResult | EngineFailure]:
        # Not self.phase: a request that passed check_open() is answered while the engine drains.
        check_phase(self._phase)
        self._admission.check(self._queues, request.model, request.unique_tokens, len(request.ids))
        future = self._pending.add(request)
        self._send(request)
        return future

    def cancel(self, request_id: int) -> None:
        if future := self._pending.remove(request_id):
            future.cancel()
            self._send(CancelRequest(request_id))

    def drain(self) -> None:
        self._draining = True

    def fail(self, reason: str) -> None:
        """Stop for good: fail all pending requests and refuse new ones."""
        self._set_state(EngineState("failed", reason=reason))
        self._pending.fail_all()

    @abstractmethod
    def _send(self, message: EngineRequest | CancelRequest) -> None:
        """Send without waiting."""

    def _receive(self, message: EngineReport | EngineResult | EngineFailure) -> None:
        if isinstance(message, EngineReport):
            self._set_state(message.state)
            self._info = message.info
        else:
            self._pending.answer(message)

    def _set_state(self, state: EngineState) -> None:
        self._phase, self._reason = state.phase, state.reason
        self._queues.report(state.queues)


class PendingRequests:
    """The requests of one event loop that have no answer yet; `queues` counts them."""

    def __init__(self, queues: QueueView) -> None:
        self._queues = queues
        self._futures: dict[int, asyncio.Future[EngineResult | EngineFailure]] = {}
        # Model, items and tokens, by request id.
        self._sizes: dict[int, tuple[str, int, int]] = {}
        self._ids = itertools.count(1)

    def new_id(self) -> int:
        return next(self._ids)

    def add(self, request: EngineRequest) -> asyncio.Future[EngineResult | EngineFailure]:
        """The future that answer() will resolve."""
        future: asyncio.Future[EngineResult | EngineFailure] = asyncio.get_running_loop().create_future()
        size = (request.model, len(request.ids), request.unique_tokens)
        self._futures[request.id] = future
        self._sizes[request.id] = size
        self._queues.add(*size)
        return future

    def remove(self, request_id: int) -> asyncio.Future[EngineResult | EngineFailure] | None:
        """The future of a request that was pending until now, else None."""
        future = self._futures.pop(request_id, None)
        if future is not None:
            self._queues.remove(*self._sizes.pop(request_id))
        return future

    def answer(self, message: EngineResult | EngineFailure) -> None:
        """Resolve the future of a request; an answer to a cancelled request is dropped."""
        future = self.remove(message.id)
        if future is not None and not future.done():
            future.set_result(message)

    def fail_all(self) -> None:
        """Answer every request with `unavailable`: the engine is gone."""
        for request_id in list(self._futures):
            self.answer(EngineFailure(request_id, "unavailable"))
