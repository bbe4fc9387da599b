"""Which client gets which message from the loop of an engine."""

from collections import deque
from collections.abc import Iterable

import numpy as np

from models import Readout
from models.backends.fake import FakeBackend
from server.engine.batching import BatchLimits
from server.engine.loop import ClientId, EngineLoop, FromClient, ToClient
from server.engine.messages import (
    CancelRequest,
    EngineReport,
    EngineRequest,
    EngineResult,
    EngineState,
    QueueStats,
    Subscribe,
)
from server.engine.scheduler import Scheduler
from tests.support.operations import operations

FIRST, SECOND = b"first", b"second"


class _ScriptedTransport:
    """Hands out one message at a time, and closes when the scheduler has nothing left to do."""

    def __init__(self, *messages: tuple[ClientId, FromClient], gone: ClientId = b"nobody") -> None:
        self._messages = deque(messages)
        self._gone = gone
        self.sent: list[tuple[ClientId, ToClient]] = []
        self.closed = False

    def receive(self, wait_s: float | None) -> Iterable[tuple[ClientId, FromClient]]:
        self.closed = wait_s is None and not self._messages
        return [self._messages.popleft()] if self._messages else []

    def send(self, client: ClientId, message: ToClient) -> bool:
        self.sent.append((client, message))
        return client != self._gone

    def of(self, kind: type) -> list[tuple[ClientId, ToClient]]:
        return [(client, message) for client, message in self.sent if isinstance(message, kind)]


def _request(request_id: int, *lengths: int) -> EngineRequest:
    ids = [np.full(length, request_id, dtype=np.int32) for length in lengths]
    return EngineRequest(request_id, "m", Readout("vector"), ids, np.zeros(len(ids), dtype=np.int32))


def _run_loop(
    *messages: tuple[ClientId, FromClient], batch_tokens: int = 100
) -> tuple[_ScriptedTransport, FakeBackend]:
    backend, transport = FakeBackend(), _ScriptedTransport(*messages)
    EngineLoop(Scheduler({"m": backend}, BatchLimits(batch_tokens, 10)), transport, lambda _: None).run()
    return transport, backend


def test_each_client_gets_its_own_answers() -> None:
    transport, _ = _run_loop((FIRST, _request(1, 3)), (SECOND, _request(1, 4)), (FIRST, _request(2, 5)))

    answers = transport.of(EngineResult)
    assert sorted((client, message.id) for client, message in answers) == [(FIRST, 1), (FIRST, 2), (SECOND, 1)]


def test_the_same_id_of_two_clients_is_two_requests() -> None:
    transport, backend = _run_loop((FIRST, _request(1, 3)), (SECOND, _request(1, 3)))

    assert len(transport.of(EngineResult)) == 2
    assert sum(map(len, backend.batches)) == 2


def test_a_cancelled_request_is_not_answered() -> None:
    transport, _ = _run_loop(
        (FIRST, _request(1, 3)), (FIRST, CancelRequest(1)), (FIRST, CancelRequest(1)), batch_tokens=1
    )

    assert len(transport.of(EngineResult)) <= 1


def test_the_requests_of_a_client_that_is_gone_do_not_run() -> None:
    backend = FakeBackend()
    transport = _ScriptedTransport((SECOND, _request(1, *[3] * 10)), (FIRST, Subscribe()), gone=SECOND)

    EngineLoop(Scheduler({"m": backend}, BatchLimits(3, 1)), transport, lambda _: None).run()

    assert transport.of(EngineResult) == []
    assert backend.batches == [(3,)]


def test_a_client_that_subscribes_gets_a_report() -> None:
    transport, _ = _run_loop((FIRST, Subscribe()))

    [(client, report), *_] = transport.of(EngineReport)
    assert client == FIRST
    assert report.state == EngineState("ready", {"m": QueueStats()})
    assert report.info["m"].backend == "fake"


def test_a_report_counts_the_requests_of_other_clients_only() -> None:
    backend = FakeBackend()
    transport = _ScriptedTransport((FIRST, Subscribe()), (FIRST, _request(1, 3, 4)), (SECOND, Subscribe()))
    scheduler = Scheduler({"m": backend}, BatchLimits(1, 1))

    EngineLoop(scheduler, transport, lambda _: None).run()

    tokens = {client: message.state.waiting_tokens for client, message in reversed(transport.of(EngineReport))}
    assert tokens[FIRST] == 0
    assert max(message.state.waiting_tokens for client, message in transport.of(EngineReport) if client == SECOND) in (
        3,
        4,
        7,
    )


def test_a_report_says_what_was_launched_of_a_request_that_has_begun() -> None:
    transport, _ = _run_loop((FIRST, Subscribe()), (FIRST, _request(1, 3, 4)), (FIRST, Subscribe()), batch_tokens=1)

    assert ((1, 3),) in [report.progress for _, report in transport.of(EngineReport)]


def test_an_engine_that_falls_idle_reports_it() -> None:
    transport, _ = _run_loop((FIRST, _request(1, 3)))

    assert transport.of(EngineReport)[-1][1].state.waiting_tokens == 0


def test_a_report_costs_the_same_however_many_requests_wait() -> None:
    def cost(waiting: int) -> int:
        scheduler = Scheduler({"m": FakeBackend()}, BatchLimits(100, 100))
        loop = EngineLoop(scheduler, _ScriptedTransport(), lambda _: None)
        for number in range(waiting):
            loop._handle((FIRST, SECOND)[number % 2], _request(number, 1 + number % 50))
        scheduler.step()
        return operations(loop._report)

    few, many = cost(500), cost(5000)

    assert many < 1.3 * few


def test_reports_count_a_request_that_has_begun_by_what_is_left_of_it() -> None:
    scheduler, transport = Scheduler({"m": FakeBackend()}, BatchLimits(5, 10)), _ScriptedTransport()
    loop = EngineLoop(scheduler, transport, lambda _: None)
    for client, message in ((FIRST, _request(1, 3, 4)), (FIRST, _request(2, 90)), (SECOND, Subscribe())):
        loop._handle(client, message)

    scheduler.step()
    loop._report()
    loop._handle(FIRST, CancelRequest(1))
    loop._report()
    loop._handle(FIRST, CancelRequest(2))
    loop._report()

    seen = [report.state.queue("m") for client, report in transport.of(EngineReport) if client == SECOND]
    assert [(queue.requests, queue.items, queue.tokens) for queue in seen] == [
        (2, 3, 97),
        (2, 3, 94),
        (1, 1, 90),
        (0, 0, 0),
    ]
