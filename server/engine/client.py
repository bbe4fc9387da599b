"""The HTTP side of an engine: what it offers to handlers, and what all engine clients have in common."""

import asyncio
import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from time import monotonic
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
    Reason,
)

# How long requests wait for the successor of an engine that died or hangs. Then they get 503, and may try elsewhere.
RESUME_WITHIN_S = 5.0
# How long an input that ended two engines is refused, and how many such inputs are remembered.
REMEMBER_S = 600.0
MAX_REMEMBERED = 1024


FOREVER_S = float("inf")


class Engine(Protocol):
    """Accepts requests and answers each exactly once. All methods belong to the event loop's thread."""

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each model is run, by model id. A model that is still loading is absent."""
        ...

    def state(self) -> EngineState:
        """A snapshot of the phase and the queues, running batches included. Never waits for a batch."""
        ...

    def check_open(self, *, tokens: int = 1, caller: str = "", left_s: float = FOREVER_S) -> None:
        """Refuse a request before its body is read.

        `tokens` are those of a body of its length, and `left_s` is the time that it may still take.

        Raises: ModelLoading, Draining, Unavailable, QueueFull: no model has room.
        """
        ...

    def check_room(self, model: str, tokens: int, items: int, *, caller: str = "", left_s: float = FOREVER_S) -> None:
        """Refuse a request before it is tokenised. `tokens` and `items` are lower bounds of its size.

        Raises: ModelLoading, Draining, Unavailable, QueueFull, WaitTooLong, TooLate.
        """
        ...

    def new_id(self) -> int:
        """An id for an EngineRequest, unique within this engine."""
        ...

    def submit(
        self, request: EngineRequest, *, left_s: float = FOREVER_S
    ) -> asyncio.Future[EngineResult | EngineFailure]:
        """Admit all of a request or none of it. A draining engine still admits it: its client came in time.

        Raises: ModelLoading, Unavailable, QueueFull, WaitTooLong, TooLate.
        """
        ...

    def cancel(self, request_id: int) -> None:
        """Forget a request: its items that have not been launched never run. Does nothing if it was answered."""
        ...

    def drain(self) -> None:
        """Refuse new requests from now on."""
        ...

    def end_drain(self) -> None:
        """Answer every request that is left with `draining`: the time for it is over."""
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
        self._suspects = Suspects()
        self._is_lost = False
        self._giving_up: asyncio.TimerHandle | None = None

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

    def check_open(self, *, tokens: int = 1, caller: str = "", left_s: float = FOREVER_S) -> None:
        self._check_phase(self.phase)
        self._admission.check_open(self._queues, self._info, tokens, caller, left_s)

    def check_room(self, model: str, tokens: int, items: int, *, caller: str = "", left_s: float = FOREVER_S) -> None:
        self._check_phase(self.phase)
        self._admission.check(self._queues, model, tokens, items, caller=caller, left_s=left_s)

    def new_id(self) -> int:
        return self._pending.new_id()

    def submit(
        self, request: EngineRequest, *, left_s: float = FOREVER_S
    ) -> asyncio.Future[EngineResult | EngineFailure]:
        # Not self.phase: a request that passed check_open() is answered while the engine drains.
        self._check_phase(self._phase)
        info = self._info.get(request.model)
        tokens = request.computed_tokens(shares_prefixes=info is None or info.shares_prefixes)
        self._admission.check(
            self._queues, request.model, tokens, len(request.ids), caller=request.caller, left_s=left_s
        )
        if self._suspects:
            request = replace(request, alone=self._suspects.is_suspect(request))
        future = self._pending.add(request, tokens)
        if request.alone and self._suspects.is_guilty(request):
            self._pending.answer(EngineFailure(request.id, "engine_died"))
        elif not self._is_lost:
            self._send(request)
        return future

    def cancel(self, request_id: int) -> None:
        if future := self._pending.remove(request_id):
            future.cancel()
            if not self._is_lost:
                self._send(CancelRequest(request_id))

    def drain(self) -> None:
        self._draining = True

    def end_drain(self) -> None:
        self._pending.fail_all("draining")

    def fail(self, reason: str) -> None:
        """Stop for good: fail all pending requests and refuse new ones."""
        self._set_state(EngineState("failed", reason=reason))
        self._keep_waiting()
        self._pending.fail_all()

    @abstractmethod
    def _send(self, message: EngineRequest | CancelRequest) -> None:
        """Send without waiting."""

    def _receive(self, message: EngineReport | EngineResult | EngineFailure) -> None:
        if isinstance(message, EngineReport):
            self._pending.note_progress(message.progress)
            self._set_state(message.state)
            self._info = message.info
            self._resume()
        else:
            request = self._pending.answer(message)
            if request is not None and request.alone:
                self._suspects.acquit(request)

    def _check_phase(self, phase: Phase) -> None:
        # While the next engine is not overdue, new requests wait for it like those that its predecessor left.
        if phase != "loading" or not self._is_lost or self._giving_up is None:
            check_phase(phase)

    def _lose(self, launched: Iterable[int]) -> None:
        """The engine died while the requests with these ids were in flight.

        Those that waited go to the next engine. Those in flight are suspects: they go there too, to run alone, unless
        they did so already; then they ended two engines and get 500.
        """
        self._is_lost = True
        for request in self._pending.requests(launched):
            if self._suspects.accuse(request):
                self._pending.answer(EngineFailure(request.id, "engine_died"))
            else:
                self._pending.set_alone(request)
        if self._draining or self._phase == "failed":
            self._pending.fail_all()
        else:
            self._give_up_later()

    def _resume(self) -> None:
        """The engine works (again): give a new one what its predecessor left."""
        self._keep_waiting()
        if self._is_lost:
            self._is_lost = False
            for request in self._pending.requests():
                self._send(request)

    def _give_up_later(self) -> None:
        if self._giving_up is None:
            self._giving_up = asyncio.get_running_loop().call_later(RESUME_WITHIN_S, self._give_up)

    def _give_up(self) -> None:
        self._giving_up = None
        self._pending.fail_all()

    def _keep_waiting(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None

    def _set_state(self, state: EngineState) -> None:
        self._phase, self._reason = state.phase, state.reason
        self._queues.report(state.queues)


class PendingRequests:
    """The requests of one event loop that have no answer yet; `queues` counts them."""

    def __init__(self, queues: QueueView) -> None:
        self._queues = queues
        self._by_id: dict[int, _PendingRequest] = {}
        self._ids = itertools.count(1)

    def new_id(self) -> int:
        return next(self._ids)

    def requests(self, ids: Iterable[int] | None = None) -> list[EngineRequest]:
        """The pending requests, or those of them with these ids, in the order of their ids."""
        chosen = self._by_id if ids is None else self._by_id.keys() & set(ids)
        return [self._by_id[request_id].request for request_id in sorted(chosen)]

    def add(self, request: EngineRequest, tokens: int | None = None) -> asyncio.Future[EngineResult | EngineFailure]:
        """The future that answer() will resolve. `tokens` are to be computed for it, by default the unique ones."""
        tokens = request.unique_tokens if tokens is None else tokens
        future: asyncio.Future[EngineResult | EngineFailure] = asyncio.get_running_loop().create_future()
        self._by_id[request.id] = _PendingRequest(request, future, tokens, tokens)
        self._queues.add(request.model, len(request.ids), tokens, request.caller)
        return future

    def note_progress(self, progress: Iterable[tuple[int, int]]) -> None:
        """Count no longer what was launched of some requests: pairs of an id and tokens."""
        for request_id, tokens in progress:
            if pending := self._by_id.get(request_id):
                left_tokens = max(pending.tokens - tokens, 0)
                self._queues.shrink(pending.request.model, pending.left_tokens - left_tokens, pending.request.caller)
                pending.left_tokens = left_tokens

    def set_alone(self, request: EngineRequest) -> None:
        """Let a pending request run alone when it is sent again."""
        self._by_id[request.id].request = replace(request, alone=True)

    def remove(self, request_id: int) -> asyncio.Future[EngineResult | EngineFailure] | None:
        """The future of a request that was pending until now, else None."""
        pending = self._by_id.pop(request_id, None)
        if pending is None:
            return None
        request = pending.request
        self._queues.remove(request.model, len(request.ids), pending.left_tokens, request.caller)
        return pending.future

    def answer(self, message: EngineResult | EngineFailure) -> EngineRequest | None:
        """Resolve the future of a request, which is returned; an answer to a cancelled request is dropped."""
        pending = self._by_id.get(message.id)
        future = self.remove(message.id)
        if pending is None or future is None or future.done():
            return None
        future.set_result(message)
        return pending.request

    def fail_all(self, reason: Reason = "unavailable") -> None:
        """Answer every request with this reason."""
        for request_id in list(self._by_id):
            self.answer(EngineFailure(request_id, reason))


@dataclass(slots=True)
class _PendingRequest:
    request: EngineRequest
    future: asyncio.Future[EngineResult | EngineFailure]
    tokens: int
    left_tokens: int


class Suspects:
    """Inputs that were in flight when an engine died, by digest: a client may send them again."""

    def __init__(self) -> None:
        # Whether a second engine died of it alone, and when it was accused last. The oldest is the first.
        self._verdicts: dict[bytes, tuple[bool, float]] = {}

    def __len__(self) -> int:
        return len(self._verdicts)

    def accuse(self, request: EngineRequest) -> bool:
        """Note that an engine died while this request was in flight; True if it was the only one, and so is guilty."""
        digest = _digest(request)
        self._verdicts.pop(digest, None)
        self._verdicts[digest] = request.alone, monotonic()
        if len(self._verdicts) > MAX_REMEMBERED:
            del self._verdicts[next(iter(self._verdicts))]
        return request.alone

    def acquit(self, request: EngineRequest) -> None:
        """Forget a request that ran alone and was answered."""
        self._verdicts.pop(_digest(request), None)

    def is_suspect(self, request: EngineRequest) -> bool:
        """Whether to run it alone, or not at all."""
        return self._verdict(request) is not None

    def is_guilty(self, request: EngineRequest) -> bool:
        """Whether it ended an engine while it ran alone."""
        return self._verdict(request) is True

    def _verdict(self, request: EngineRequest) -> bool | None:
        digest = _digest(request)
        verdict = self._verdicts.get(digest)
        if verdict is not None and monotonic() - verdict[1] > REMEMBER_S:
            del self._verdicts[digest]
            return None
        return None if verdict is None else verdict[0]


def _digest(request: EngineRequest) -> bytes:
    digest = hashlib.sha256(repr((request.model, request.readout, [len(ids) for ids in request.ids])).encode())
    for ids in request.ids:
        digest.update(ids.tobytes())
    return digest.digest()
