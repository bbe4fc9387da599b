"""What a soak takes for a right answer, and that it knows every route."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.support.soak_requests import Call, Reply, every_call, same
from server.api.app import create_app
from server.config import Config
from server.observability.metrics import Metrics
from server.registry import ModelRegistry

VECTOR = np.sin(np.arange(32)).tolist()
NEARLY = (np.array(VECTOR) + 1e-3).tolist()
OTHER = np.cos(np.arange(32)).tolist()


def _base64(values: list[float]) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


def _scored(index: int, score: float) -> dict[str, float]:
    return {"index": index, "score": score}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (VECTOR, NEARLY, True),
        (VECTOR, OTHER, False),
        (VECTOR, VECTOR[:-1], False),
        (_base64(VECTOR), _base64(NEARLY), True),
        (_base64(VECTOR), _base64(OTHER), False),
        ([_scored(1, 0.5), _scored(0, 0.501)], [_scored(0, 0.5), _scored(1, 0.5)], True),
        ([_scored(1, 0.9), _scored(0, 0.5)], [_scored(0, 0.9), _scored(1, 0.5)], False),
        ({"id": "a", "n": 1}, {"id": "b", "n": 1}, True),
        ({"n": 1}, {"n": 1, "m": 2}, False),
        ({"n": True}, {"n": 1}, True),
        ("a text", "another text", False),
    ],
)
def test_equal_answers_differ_in_their_last_bits_at_most(a: Any, b: Any, expected: bool) -> None:
    assert same(a, b) is expected


def _reply(status: int, body: Any) -> Reply:
    return Reply(status, True, False, json.dumps(body).encode())


def test_a_refusal_is_right_and_a_failure_is_not() -> None:
    call, reference = Call("a", (b"",)), _reply(200, {"n": 1})

    assert call.is_right(_reply(200, {"n": 1}), reference)
    assert call.is_right(_reply(503, {"error": {}}), reference)
    assert not call.is_right(_reply(500, {"error": {}}), reference)
    assert not call.is_right(_reply(200, {"n": 2}), reference)
    assert not call.is_right(Reply(503, False, False, b"oops"), reference)


def test_every_path_of_every_route_is_asked() -> None:
    app = create_app(Config(), ModelRegistry([]), object(), Metrics())  # type: ignore[arg-type]
    sent = {call.pieces[0].split(b" ")[1].decode() for call in every_call("k")}

    paths = {path.replace("{model:path}", "demo-embedding") for route in app.state.routes for path in route.paths}
    assert paths <= sent


@pytest.mark.slow
def test_half_a_minute_holds(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.soak",
        "--minutes",
        "0.5",
        "--clients",
        "4",
        "--out",
        tmp_path / "soak.md",
    ]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    assert ended.returncode == 0, ended.stdout
    assert "| every request had an answer" in (tmp_path / "soak.md").read_text("utf-8")
