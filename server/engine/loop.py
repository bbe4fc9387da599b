"""The loop of an engine, in a process or a thread of its own: receive, step, send. It never waits for a client."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from operator import add, sub
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
# Model, requests, items and tokens.
_RequestSize = tuple[str, int, int, int]


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


class EngineLoop:
    """One scheduler behind one transport. `record` gets the state of the queues with every report."""

    def __init__(self, scheduler: Scheduler, transport: Transport, record: Callable[[EngineState], None]) -> None:
        self._scheduler = scheduler
        self._transport = transport
        self._record = record
        # The size of every request that has no answer yet, by client and request id.
        self._pending: dict[ClientId, dict[int, _RequestSize]] = {}
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
        pending = self._pending.setdefault(client, {})
        self._changed = True
        match message:
            case EngineRequest():
                tokens = self._scheduler.add((client, message.id), message)
                pending[message.id] = (message.model, 1, len(message.ids), tokens)
            case CancelRequest():
                pending.pop(message.id, None)
                self._scheduler.drop((client, message.id))
            case Subscribe():
                self._report()

    def _answer(self, key: Key, answer: EngineResult | EngineFailure) -> None:
        client, request_id = key
        if client not in self._pending:
            return
        self._pending[client].pop(request_id, None)
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
        launched = self._scheduler.launched_tokens()
        by_client = {client: _totals(_rest(client, pending, launched)) for client, pending in self._pending.items()}
        total = _totals((model, *counts) for own in by_client.values() for model, counts in own.items())
        for client, own in by_client.items():
            # A client counts its own requests itself, at once; it cannot know those of the other clients.
            queues = {model: _without(total[model], own[model], queue) for model, queue in state.queues.items()}
            progress = tuple((number, tokens) for (sender, number), tokens in launched.items() if sender == client)
            self._send(client, EngineReport(EngineState("ready", queues), self._scheduler.info, progress))

    def _send(self, client: ClientId, message: ToClient) -> None:
        if not self._transport.send(client, message):
            self._changed = True
            for request_id in self._pending.pop(client, {}):
                self._scheduler.drop((client, request_id))


def _rest(client: ClientId, pending: Mapping[int, _RequestSize], launched: Mapping[Key, int]) -> Iterable[_RequestSize]:
    for request_id, (model, requests, items, tokens) in pending.items():
        yield model, requests, items, tokens - launched.get((client, request_id), 0)


def _totals(sizes: Iterable[_RequestSize]) -> Mapping[str, tuple[int, int, int]]:
    """Requests, items and tokens by model; zeros for a model without requests."""
    totals: defaultdict[str, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    for model, *counts in sizes:
        requests, items, tokens = map(add, totals[model], counts)
        totals[model] = requests, items, tokens
    return totals


def _without(total: tuple[int, int, int], own: tuple[int, int, int], queue: QueueStats) -> QueueStats:
    requests, items, tokens = map(sub, total, own)
    return QueueStats(items, tokens, queue.tokens_per_s, requests)
