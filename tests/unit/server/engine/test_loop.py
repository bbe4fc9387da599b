"""The loop of an engine: who is told what."""

from collections import deque
from collections.abc import Iterable

import numpy as np

from models import Readout
from models.backends.fake import FakeBackend
from server.engine.batching import BatchLimits
from server.engine.loop import Client, EngineLoop, FromClient, ToClient
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

ONE, OTHER = b"one", b"other"


class _Script:
    """A port that hands out one message a turn and closes when the worker has nothing left to do."""

    def __init__(self, *messages: tuple[Client, FromClient], gone: Client = b"nobody") -> None:
        self._messages = deque(messages)
        self._gone = gone
        self.sent: list[tuple[Client, ToClient]] = []
        self.closed = False

    def receive(self, wait_s: float | None) -> Iterable[tuple[Client, FromClient]]:
        self.closed = wait_s is None and not self._messages
        return [self._messages.popleft()] if self._messages else []

    def send(self, client: Client, message: ToClient) -> bool:
        self.sent.append((client, message))
        return client != self._gone

    def of(self, kind: type) -> list[tuple[Client, ToClient]]:
        return [(client, message) for client, message in self.sent if isinstance(message, kind)]


def _work(work_id: int, *lengths: int) -> EngineRequest:
    ids = [np.full(length, work_id, dtype=np.int32) for length in lengths]
    return EngineRequest(work_id, "m", Readout("vector"), ids, np.zeros(len(ids), dtype=np.int32))


def _drive(*messages: tuple[Client, FromClient], batch_tokens: int = 100) -> tuple[_Script, FakeBackend]:
    backend, script = FakeBackend(), _Script(*messages)
    EngineLoop(Scheduler({"m": backend}, BatchLimits(batch_tokens, 10)), script, lambda _: None).run()
    return script, backend


def test_each_client_gets_its_own_answers() -> None:
    script, _ = _drive((ONE, _work(1, 3)), (OTHER, _work(1, 4)), (ONE, _work(2, 5)))

    answers = script.of(EngineResult)
    assert sorted((client, message.id) for client, message in answers) == [(ONE, 1), (ONE, 2), (OTHER, 1)]


def test_the_same_id_of_two_clients_is_two_requests() -> None:
    script, backend = _drive((ONE, _work(1, 3)), (OTHER, _work(1, 3)))

    assert len(script.of(EngineResult)) == 2
    assert sum(map(len, backend.batches)) == 2


def test_what_is_cancelled_is_not_answered() -> None:
    script, _ = _drive((ONE, _work(1, 3)), (ONE, CancelRequest(1)), (ONE, CancelRequest(1)), batch_tokens=1)

    assert len(script.of(EngineResult)) <= 1


def test_for_a_client_that_is_gone_nothing_more_is_computed() -> None:
    backend = FakeBackend()
    script = _Script((OTHER, _work(1, *[3] * 10)), (ONE, Subscribe()), gone=OTHER)

    EngineLoop(Scheduler({"m": backend}, BatchLimits(3, 1)), script, lambda _: None).run()

    assert script.of(EngineResult) == []
    assert backend.batches == [(3,)]


def test_who_says_hello_is_told_how_the_engine_is() -> None:
    script, _ = _drive((ONE, Subscribe()))

    [(client, report), *_] = script.of(EngineReport)
    assert client == ONE
    assert report.state == EngineState("ready", {"m": QueueStats()})
    assert report.info["m"].backend == "fake"


def test_a_client_hears_of_what_others_have_sent_and_not_of_its_own() -> None:
    backend = FakeBackend()
    script = _Script((ONE, Subscribe()), (ONE, _work(1, 3, 4)), (OTHER, Subscribe()))
    worker = Scheduler({"m": backend}, BatchLimits(1, 1))

    EngineLoop(worker, script, lambda _: None).run()

    first = {client: message.state.waiting_tokens for client, message in reversed(script.of(EngineReport))}
    assert first[ONE] == 0
    assert max(message.state.waiting_tokens for client, message in script.of(EngineReport) if client == OTHER) in (
        3,
        4,
        7,
    )


def test_an_engine_that_falls_idle_says_so() -> None:
    script, _ = _drive((ONE, _work(1, 3)))

    assert script.of(EngineReport)[-1][1].state.waiting_tokens == 0
