"""The loop of an engine, in a process or a thread of its own: receive, step, send. It never waits for a client."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
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

# Other HTTP processes hear of a change after so long at most.
REPORT_EVERY_S = 0.02

Client = bytes
_Size = tuple[str, int, int]
FromClient = EngineRequest | CancelRequest | Subscribe
ToClient = EngineResult | EngineFailure | EngineReport


class Transport(Protocol):
    """Where an engine's messages come from and go to."""

    def receive(self, wait_s: float | None) -> Iterable[tuple[Client, FromClient]]:
        """What has arrived; waits up to `wait_s` for something, for ever when it is None."""
        ...

    def send(self, client: Client, message: ToClient) -> bool:
        """Send without waiting; False when the client is gone."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the loop is to end."""
        ...


class EngineLoop:
    """One worker behind one port. `note` is told what waits, whenever that was reported."""

    def __init__(self, worker: Scheduler, port: Transport, note: Callable[[EngineState], None]) -> None:
        self._worker = worker
        self._port = port
        self._note = note
        # Of each client, the model, items and tokens of every request that has no answer yet.
        self._waiting: dict[Client, dict[int, _Size]] = {}
        self._reported_at = 0.0
        self._changed = False

    def run(self) -> None:
        """Until the port closes.

        Raises: DeviceLost.
        """
        while not self._port.closed:
            for client, message in self._port.receive(self._wait_s()):
                self._take(client, message)
            for key, answer in self._worker.step():
                self._answer(key, answer)
            if self._report_is_due():
                self._report()

    def _take(self, client: Client, message: FromClient) -> None:
        waiting = self._waiting.setdefault(client, {})
        self._changed = True
        match message:
            case EngineRequest():
                waiting[message.id] = (message.model, len(message.ids), message.unique_tokens)
                self._worker.add((client, message.id), message)
            case CancelRequest():
                waiting.pop(message.id, None)
                self._worker.drop((client, message.id))
            case Subscribe():
                self._report()

    def _answer(self, key: Key, answer: EngineResult | EngineFailure) -> None:
        client, work_id = key
        if client not in self._waiting:
            return
        self._waiting[client].pop(work_id, None)
        self._changed = True
        self._send(client, answer)

    def _wait_s(self) -> float | None:
        wait_s = self._worker.wait_s()
        # An engine that falls idle has its last report still to make: nothing else would remind it.
        return max(self._report_in_s(), 1e-3) if wait_s is None and self._changed else wait_s

    def _report_is_due(self) -> bool:
        return (self._changed or self._worker.wait_s() is not None) and self._report_in_s() <= 0

    def _report_in_s(self) -> float:
        return self._reported_at + REPORT_EVERY_S - perf_counter()

    def _report(self) -> None:
        self._reported_at, self._changed = perf_counter(), False
        state = self._worker.state()
        self._note(state)
        own = {client: _totals(waiting.values()) for client, waiting in self._waiting.items()}
        everybody = _totals((model, *counts) for totals in own.values() for model, counts in totals.items())
        for client, totals in own.items():
            # A client counts its own requests itself, at once; what it cannot know is what others have sent.
            queues = {model: _others(queue, everybody[model], totals[model]) for model, queue in state.queues.items()}
            self._send(client, EngineReport(EngineState("ready", queues), self._worker.info))

    def _send(self, client: Client, message: ToClient) -> None:
        if not self._port.send(client, message):
            self._changed = True
            for work_id in self._waiting.pop(client, {}):
                self._worker.drop((client, work_id))


def _totals(sizes: Iterable[_Size]) -> Mapping[str, tuple[int, int]]:
    totals: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for model, items, tokens in sizes:
        totals[model] = totals[model][0] + items, totals[model][1] + tokens
    return totals


def _others(queue: QueueStats, everybody: tuple[int, int], own: tuple[int, int]) -> QueueStats:
    return QueueStats(everybody[0] - own[0], everybody[1] - own[1], queue.tokens_per_s)
