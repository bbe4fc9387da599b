"""Which requests start, and in which order."""

import asyncio
from collections.abc import Callable

import pytest

from server.errors import TooManyRequests
from server.launch.request_gate import LAGGING_REQUESTS, MAX_LAG_S, STARTS_IN_TURN, RequestGate
from server.observability.metrics import Metrics


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> RequestGate:
    return RequestGate(Metrics(), max_requests=100, clock=clock)


def _enter(gate: RequestGate, started: list[str], *callers: str) -> None:
    for caller in callers:
        gate.enter(caller, _start(started, caller))


def _start(started: list[str], caller: str) -> Callable[[], None]:
    return lambda: started.append(caller)


def test_requests_of_a_single_caller_start_at_once(gate: RequestGate) -> None:
    started: list[str] = []

    _enter(gate, started, *["a"] * 50)

    assert (len(started), gate.waiting) == (50, 0)


async def test_several_callers_start_in_turn_a_few_at_a_time(gate: RequestGate) -> None:
    started: list[str] = []

    _enter(gate, started, "light", *["crowd"] * 50, "light", "third")
    at_once = len(started)
    while gate.waiting:
        before = len(started)
        await asyncio.sleep(0)
        assert len(started) - before <= STARTS_IN_TURN

    assert at_once <= STARTS_IN_TURN + 1
    assert {"light", "third"} <= set(started[at_once : at_once + 4])
    assert sorted(started) == sorted(["light", *["crowd"] * 50, "light", "third"])


async def test_a_caller_that_has_left_is_forgotten(gate: RequestGate, clock: Clock) -> None:
    started: list[str] = []
    _enter(gate, started, "light", "crowd")
    await asyncio.sleep(0)
    clock.now = 2
    gate.tick(0.1)

    _enter(gate, started, *["crowd"] * 50)

    assert (len(started), gate.waiting) == (52, 0)


async def test_requests_in_progress_are_limited_those_that_wait_included(gate: RequestGate) -> None:
    _enter(gate, [], "light", *["crowd"] * 30)

    waiting = gate.waiting
    assert gate.refusal(running=99 - waiting) is None
    refusal = gate.refusal(running=100 - waiting)

    assert isinstance(refusal, TooManyRequests)
    assert refusal.headers["Retry-After"] == "1"


def test_a_loop_that_is_late_again_and_again_takes_few_requests(gate: RequestGate, clock: Clock) -> None:
    refused = []
    for lag_s in (0.0, MAX_LAG_S * 2, 0.0, MAX_LAG_S * 2, MAX_LAG_S * 2, MAX_LAG_S * 2, 0.0):
        clock.now += 0.1 + lag_s
        gate.tick(0.1)
        refused.append(gate.refusal(running=LAGGING_REQUESTS) is not None)
        assert gate.refusal(running=LAGGING_REQUESTS - 1) is None

    assert refused == [False, False, False, False, False, True, False]


def test_refusals_are_logged_now_and_then(gate: RequestGate, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(500):
        gate.refusal(running=100)
    gate.tick(0.1)
    clock.now = 11
    gate.tick(0.1)
    gate.tick(0.1)

    assert [record.message for record in caplog.records] == ["refused 500 requests: more than 100 were in progress"]
