"""The loop of an engine, in a process or a thread of its own: receive, step, send. It never waits for a client."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Protocol

from server.engine.batching import Key
from server.engine.messages import (
    CancelRequest,
    EngineFailure,
    EngineReport,
    EngineRequest,
    EngineResult,
    EngineState,
    QueueStats,
    Subscribe,
)
from server.engine.scheduler import Scheduler

# The longest time after which a client hears of a change that other clients caused.
REPORT_EVERY_S = 0.02

ClientId = bytes
FromClient = EngineRequest | CancelRequest | Subscribe
ToClient = EngineResult | EngineFailure | EngineReport


class Transport(Protocol):
    """Carries messages between an engine and its clients. Belongs to the loop's thread."""

    def receive(self, wait_s: float | None) -> Iterable[tuple[ClientId, FromClient]]:
        """The messages that have arrived. Waits for the first up to `wait_s`, without a limit if it is None."""
        ...

    def send(self, client: ClientId, message: ToClient) -> bool:
        """Send without waiting; False if the client is gone."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the loop is to end."""
        ...


@dataclass(slots=True)
class _Pending:
    """A request that has no answer yet, and its tokens that were not launched when the last report was sent."""

    model: str
    items: int
    tokens: int
    left_tokens: int


@dataclass(slots=True)
class _Client:
    """The requests of a client by id, and what they add up to by model: so a report need not look at each of them."""

    pending: dict[int, _Pending] = field(default_factory=dict)
    queues: dict[str, QueueStats] = field(default_factory=dict)

    def add(self, request_id: int, request: _Pending) -> None:
        self.pending[request_id] = request
        self.count(request.model, request.items, request.tokens, 1)

    def remove(self, request_id: int) -> None:
        if request := self.pending.pop(request_id, None):
            self.count(request.model, -request.items, -request.left_tokens, -1)

    def note_launched(self, request_id: int, tokens: int) -> None:
        request = self.pending[request_id]
        left_tokens = request.tokens - tokens
        self.count(request.model, 0, left_tokens - request.left_tokens, 0)
        request.left_tokens = left_tokens

    def queue(self, model: str) -> QueueStats:
        return self.queues.get(model, QueueStats())

    def count(self, model: str, items: int, tokens: int, requests: int) -> None:
        self.queues[model] = self.queue(model).plus(items, tokens, requests)


class EngineLoop:
    """One scheduler behind one transport. `record` gets the state of the queues with every report."""

    def __init__(self, scheduler: Scheduler, transport: Transport, record: Callable[[EngineState], None]) -> None:
        self._scheduler = scheduler
        self._transport = transport
        self._record = record
        self._clients: dict[ClientId, _Client] = {}
        self._reported_at = 0.0
        self._changed = False

    def run(self) -> None:
        """Run until the transport is closed.

        Raises: DeviceLost.
        """
        while not self._transport.closed:
            for client, message in self._transport.receive(self._wait_s()):
                self._handle(client, message)
            for key, answer in self._scheduler.step():
                self._answer(key, answer)
            if self._report_is_due():
                self._report()

    def _handle(self, client: ClientId, message: FromClient) -> None:
        requests = self._clients.setdefault(client, _Client())
        self._changed = True
        match message:
            case EngineRequest():
                tokens = self._scheduler.add((client, message.id), message)
                requests.add(message.id, _Pending(message.model, len(message.ids), tokens, tokens))
            case CancelRequest():
                requests.remove(message.id)
                self._scheduler.drop((client, message.id))
            case Subscribe():
                self._report()

    def _answer(self, key: Key, answer: EngineResult | EngineFailure) -> None:
        client, request_id = key
        if client not in self._clients:
            return
        self._clients[client].remove(request_id)
        self._changed = True
        self._send(client, answer)

    def _wait_s(self) -> float | None:
        wait_s = self._scheduler.wait_s()
        # An engine that falls idle still owes its last report, and no message would wake it up for that.
        return max(self._report_in_s(), 1e-3) if wait_s is None and self._changed else wait_s

    def _report_is_due(self) -> bool:
        return (self._changed or self._scheduler.wait_s() is not None) and self._report_in_s() <= 0

    def _report_in_s(self) -> float:
        return self._reported_at + REPORT_EVERY_S - perf_counter()

    def _report(self) -> None:
        self._reported_at, self._changed = perf_counter(), False
        state = self._scheduler.state()
        self._record(state)
        progress = self._progress()
        total = _Client()
        for own in self._clients.values():
            for model, queue in own.queues.items():
                total.count(model, queue.items, queue.tokens, queue.requests)
        # _send() forgets a client that is gone.
        for client, own in tuple(self._clients.items()):
            # A client counts its own requests itself, at once; it cannot know those of the other clients.
            queues = {
                model: _without(total.queue(model), own.queue(model), queue.tokens_per_s)
                for model, queue in state.queues.items()
            }
            report = EngineReport(EngineState("ready", queues), self._scheduler.info, progress.get(client, ()))
            self._send(client, report)

    def _progress(self) -> dict[ClientId, tuple[tuple[int, int], ...]]:
        """What was launched since the last report, of the requests of each client: pairs of an id and tokens."""
        progress: dict[ClientId, list[tuple[int, int]]] = {}
        for (client, request_id), tokens in self._scheduler.launched_tokens().items():
            self._clients[client].note_launched(request_id, tokens)
            progress.setdefault(client, []).append((request_id, tokens))
        return {client: tuple(pairs) for client, pairs in progress.items()}

    def _send(self, client: ClientId, message: ToClient) -> None:
        if not self._transport.send(client, message):
            self._changed = True
            for request_id in self._clients.pop(client, _Client()).pending:
                self._scheduler.drop((client, request_id))


def _without(total: QueueStats, own: QueueStats, tokens_per_s: float) -> QueueStats:
    return replace(total.plus(-own.items, -own.tokens, -own.requests), tokens_per_s=tokens_per_s)
