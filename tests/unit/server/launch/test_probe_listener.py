"""Probes on a port of their own."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from server.engine.messages import EngineState
from server.launch import probe_listener
from server.launch.probe_listener import BLOCKED_S, DEAD_S, ProbeListener

READY = EngineState("ready")


@pytest.fixture
def probes() -> Iterator[ProbeListener]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield ProbeListener(listener)


def _statuses(probes: ProbeListener) -> dict[str, int]:
    return {path: probes.answer(path)[0] for path in ("/live", "/health", "/ready")}


def test_probes_answer_as_the_engine_is(probes: ProbeListener) -> None:
    before = _statuses(probes)
    probes.note(READY)
    ready = _statuses(probes)
    probes.note(EngineState("failed", reason="it broke"))

    assert before == {"/live": 200, "/health": 200, "/ready": 503}
    assert ready == {"/live": 200, "/health": 200, "/ready": 200}
    assert _statuses(probes) == {"/live": 200, "/health": 503, "/ready": 503}
    aliases = ("/livez", "/healthz", "/readyz", "/ping")
    assert [probes.answer(path)[0] for path in aliases] == [200, 503, 503, 503]
    assert json.loads(probes.answer("/ready/?a=b")[1]) == {"status": "failed", "reason": "it broke"}


@pytest.mark.parametrize(
    ("silent_s", "statuses"),
    [
        (BLOCKED_S - 1, {"/live": 200, "/health": 200, "/ready": 200}),
        (BLOCKED_S + 1, {"/live": 200, "/health": 200, "/ready": 503}),
        (DEAD_S + 1, {"/live": 503, "/health": 503, "/ready": 503}),
    ],
)
def test_a_blocked_event_loop_is_first_not_ready_and_then_dead(
    probes: ProbeListener, monkeypatch: pytest.MonkeyPatch, silent_s: float, statuses: dict[str, int]
) -> None:
    monkeypatch.setattr(probe_listener, "monotonic", lambda: 100.0)
    probes.note(READY)
    monkeypatch.setattr(probe_listener, "monotonic", lambda: 100.0 + silent_s)

    assert _statuses(probes) == statuses


def test_a_thread_answers_over_http(probes: ProbeListener) -> None:
    probes.note(READY)
    probes.start()
    host, port = probes._server.socket.getsockname()

    with httpx.Client(base_url=f"http://{host}:{port}", trust_env=False) as client:
        ready, head = client.get("/ready"), client.head("/live")
        other, wrong = client.get("/metrics"), client.post("/live")
    probes._server.shutdown()

    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
    assert (head.status_code, head.content) == (200, b"")
    assert (other.status_code, wrong.status_code) == (404, 501)
