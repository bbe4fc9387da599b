"""The metrics at /metrics."""

import re

from server.engine.messages import BatchStats, EngineState, QueueStats
from server.observability.metrics import Metrics
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server


def _value(text: str, name: str) -> float:
    line = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert line, f"{name} is not in\n{text}"
    return float(line[1])


def test_requests_are_counted_by_route_and_status() -> None:
    metrics = Metrics()

    metrics.started()
    metrics.started()
    metrics.answered("/v1/embeddings", 200, 0.02, {"forward": 0.01})

    text = metrics.text(EngineState("ready")).decode()
    assert _value(text, 'hearth_requests_total{route="/v1/embeddings",status="200"}') == 1
    assert _value(text, "hearth_requests_in_flight") == 1
    assert _value(text, 'hearth_stage_seconds_sum{stage="forward"}') == 0.01
    assert _value(text, 'hearth_request_seconds_bucket{le="0.025",route="/v1/embeddings"}') == 1


def test_batches_are_counted_with_their_fill() -> None:
    metrics = Metrics()

    metrics.batch(BatchStats("m", 3, 50, 0.5, 0.001, 0.01))

    text = metrics.text(EngineState("ready")).decode()
    assert _value(text, 'hearth_tokens_total{model="m"}') == 50
    assert _value(text, "hearth_batch_items_sum") == 3
    assert _value(text, 'hearth_batch_fill_bucket{le="0.5"}') == 1


def test_the_queue_and_readiness_are_gauges() -> None:
    metrics = Metrics()

    metrics.queue(EngineState("ready", {"m": QueueStats(4, 50, 100.0), "n": QueueStats()}))

    text = metrics.text(EngineState("loading")).decode()
    assert _value(text, 'hearth_queue_items{model="m"}') == 4
    assert _value(text, 'hearth_queue_tokens{model="m"}') == 50
    assert _value(text, "hearth_ready") == 0


async def test_a_served_request_shows(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        await here.embed(["a", "bb"])
        text = (await here.client.get("/metrics")).text

    assert _value(text, 'hearth_requests_total{route="/v1/embeddings",status="200"}') == 1
    assert _value(text, 'hearth_tokens_total{model="embedder"}') == 5
    assert _value(text, 'hearth_stage_seconds_count{stage="tokenize"}') == 1
    assert _value(text, "hearth_ready") == 1


async def test_paths_that_nobody_serves_share_one_label(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        await here.client.get("/a")
        await here.client.get("/b")
        await here.client.get("/v1/models/embedder")
        text = (await here.client.get("/metrics")).text

    assert _value(text, 'hearth_requests_total{route="unknown",status="404"}') == 2
    assert _value(text, 'hearth_requests_total{route="/v1/models/{model:path}",status="200"}') == 1


async def test_refusals_are_counted_by_reason(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        here.engine.drain()
        await here.embed("a")
        text = (await here.client.get("/metrics")).text

    assert _value(text, 'hearth_refusals_total{reason="draining"}') == 1
