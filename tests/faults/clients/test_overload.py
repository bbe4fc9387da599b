"""More requests than the server can bear: refused early with an honest Retry-After; callers do not hurt each other."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.http.requests import openai_error
from tests.support.server.fake_models import Clients, FakeModel, get_page, hold, metric_total, until
from tests.support.server.process import ServerProcess

# A batch of ten texts of two tokens takes 0.06 s.
SECONDS_PER_TOKEN = 0.003
ONE_SECOND = {"batching": {"max_items": 10, "queue_seconds": 1}}


@pytest.fixture
def slow(tmp_path: Path) -> FakeModel:
    """A model of 166 texts of one word a second."""
    return FakeModel(tmp_path / "slow", seconds_per_token=SECONDS_PER_TOKEN)


async def _measure(hearth: ServerProcess) -> None:
    """Let the server learn the speed of full batches."""
    first = Clients(hearth)
    first.send(1, ["a"] * 30)
    await first.answers()
    await until(hearth, lambda: metric_total(hearth, "hearth_tokens_per_second"))


async def test_what_would_wait_too_long_is_refused_at_once_and_the_rest_is_answered(
    start: Callable[..., ServerProcess], slow: FakeModel
) -> None:
    hearth = start(slow, **ONE_SECOND)
    await _measure(hearth)
    clients, late = Clients(hearth), Clients(hearth)

    clients.send(1, ["a"] * 600)
    await until(hearth, lambda: metric_total(hearth, "hearth_queue_items") > 400)
    clients.send(1, ["b"] * 600)
    long, refused = await clients.answers()
    late.send(1, ["c"] * 400)
    [after] = await late.answers()

    assert (long.status_code, after.status_code) == (200, 200)
    assert "would wait about" in openai_error(refused, 429)["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    assert refused.elapsed < long.elapsed / 2


async def test_a_request_is_refused_if_its_own_deadline_is_nearer_than_its_turn(
    start: Callable[..., ServerProcess], slow: FakeModel
) -> None:
    hearth = start(slow, batching={"max_items": 10, "queue_seconds": 60})
    await _measure(hearth)
    clients, hasty = Clients(hearth), Clients(hearth)

    clients.send(2, ["a"] * 200)
    await until(hearth, lambda: metric_total(hearth, "hearth_queue_items") > 300)
    hasty.send(1, ["b"] * 200, **{"x-request-timeout": "2"})
    [refused] = await hasty.answers()
    answers = await clients.answers()

    assert "the limit is" in openai_error(refused, 429)["message"]
    assert {answer.status_code for answer in answers} == {200}


async def test_probes_and_metrics_are_answered_when_too_many_requests_are_in_progress(
    start: Callable[..., ServerProcess], model: FakeModel
) -> None:
    hearth = start(model, max_requests=4)
    accepted, refused = Clients(hearth), Clients(hearth)

    await hold(hearth, model, accepted)
    # The one that is held, and the reading itself: what came before has left.
    await until(hearth, lambda: metric_total(hearth, "hearth_requests_in_flight") == 2)
    accepted.send(3, "b")
    # To read the metrics is a request in progress too, which must not come before these.
    await asyncio.sleep(1)
    await until(hearth, lambda: metric_total(hearth, "hearth_requests_in_flight") == 5)
    refused.send(30, "c")
    refusals = await refused.answers()
    probes = {path: get_page(hearth, path).status_code for path in ("/live", "/health", "/ready", "/metrics")}
    model.release()
    answers = await accepted.answers()

    assert {openai_error(answer, 429)["code"] for answer in refusals} == {"rate_limit_exceeded"}
    assert {answer.headers["retry-after"] for answer in refusals} == {"1"}
    assert set(probes.values()) == {200}
    assert {answer.status_code for answer in answers} == {200}
    assert metric_total(hearth, 'hearth_refusals_total{reason="too_many_requests"}') == 30


@pytest.mark.parametrize("workers", [1, 2])
async def test_probes_have_a_port_of_their_own(
    start: Callable[..., ServerProcess], model: FakeModel, workers: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    hearth = start(model, probe_port=port, workers=workers, auth={"keys": ["secret"]})
    url = f"http://127.0.0.1:{port}"

    # Each process tells its thread ten times a second that it is ready.
    await until(hearth, lambda: all(httpx.get(f"{url}/ready", trust_env=False).is_success for _ in range(5)))
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        statuses = [(await client.get(path)).status_code for path in ("/live", "/health", "/ready", "/metrics")]
    assert hearth.stop() == 0

    assert statuses == [200, 200, 200, 404]


async def test_a_crowd_of_one_caller_neither_delays_nor_shuts_out_another_caller(
    start: Callable[..., ServerProcess], slow: FakeModel
) -> None:
    hearth = start(slow, **ONE_SECOND, auth={"keys": ["crowd", "light"]})
    hearth.client.headers["x-api-key"] = "crowd"
    warm, crowd, light = Clients(hearth), Clients(hearth), Clients(hearth)
    warm.send(1, ["a"] * 30, **{"x-api-key": "crowd"})
    await warm.answers()

    crowd.send(200, "b", **{"x-api-key": "crowd"})
    await until(hearth, lambda: crowd.waiting() < 190)
    before = crowd.waiting()
    light.send(1, "c", **{"x-api-key": "light"})
    [answer] = await light.answers()
    still_waiting = crowd.waiting()
    statuses = Counter(answer.status_code for answer in await crowd.answers())

    assert answer.status_code == 200
    assert still_waiting > before / 2
    assert statuses.keys() <= {200, 429}
    assert statuses[200] > 80
