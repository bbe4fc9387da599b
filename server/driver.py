"""The loop of an engine, in a process or a thread of its own: receive, step, send. It never waits for a client."""

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Protocol

from server.batching import Key
from server.link import Cancel, Done, Failed, Hello, Report, State, Work
from server.worker import Worker

# Other HTTP processes hear of a change after so long at most.
REPORT_EVERY_S = 0.02

Client = bytes
FromClient = Work | Cancel | Hello
ToClient = Done | Failed | Report


class Port(Protocol):
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


class Driver:
    """One worker behind one port. `note` is told what waits, whenever that was reported."""

    def __init__(self, worker: Worker, port: Port, note: Callable[[State], None]) -> None:
        self._worker = worker
        self._port = port
        self._note = note
        # Of each client, the tokens and items of every request that has no answer yet.
        self._waiting: dict[Client, dict[int, tuple[int, int]]] = {}
        self._reported_at = 0.0
        self._changed = False

    def run(self) -> None:
        """Until the port closes.

        Raises: DeviceLost.
        """
        while not self._port.closed:
            for client, message in self._port.receive(self._worker.wait_s()):
                self._take(client, message)
            for key, answer in self._worker.step():
                self._answer(key, answer)
            if self._report_is_due():
                self._report()

    def _take(self, client: Client, message: FromClient) -> None:
        waiting = self._waiting.setdefault(client, {})
        self._changed = True
        match message:
            case Work():
                waiting[message.id] = (message.unique_tokens, len(message.ids))
                self._worker.add((client, message.id), message)
            case Cancel():
                waiting.pop(message.id, None)
                self._worker.drop((client, message.id))
            case Hello():
                self._report()

    def _answer(self, key: Key, answer: Done | Failed) -> None:
        client, work_id = key
        if client not in self._waiting:
            return
        self._waiting[client].pop(work_id, None)
        self._changed = True
        self._send(client, answer)

    def _report_is_due(self) -> bool:
        # An engine that falls idle says so at once: nothing would remind it later.
        if self._worker.wait_s() is None:
            return self._changed
        return perf_counter() - self._reported_at >= REPORT_EVERY_S

    def _report(self) -> None:
        self._reported_at, self._changed = perf_counter(), False
        state = self._worker.state()
        self._note(state)
        totals = {client: _total(waiting.values()) for client, waiting in self._waiting.items()}
        tokens, items = _total(totals.values())
        for client, (own_tokens, own_items) in totals.items():
            # A client counts its own requests itself, at once; what it cannot know is what others have sent.
            others = State("ready", items - own_items, tokens - own_tokens, state.tokens_per_s)
            self._send(client, Report(others, self._worker.info))

    def _send(self, client: Client, message: ToClient) -> None:
        if not self._port.send(client, message):
            for work_id in self._waiting.pop(client, {}):
                self._worker.drop((client, work_id))


def _total(sizes: Iterable[tuple[int, int]]) -> tuple[int, int]:
    tokens = items = 0
    for more_tokens, more_items in sizes:
        tokens += more_tokens
        items += more_items
    return tokens, items
