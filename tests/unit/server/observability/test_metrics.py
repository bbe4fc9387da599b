"""The metrics at /metrics."""

import multiprocessing
import re
import threading

from server.engine.messages import BatchStats, EngineState, QueueStats
from server.observability.metrics import Metrics, metrics_memory
from server.registry import ServedModel
from tests.support.server.child_processes import count_requests
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


def test_values_of_all_processes_are_added() -> None:
    memory = metrics_memory(2)
    first, second = Metrics(memory), Metrics(memory, 1)

    for metrics in (first, second):
        metrics.answered("/v1/embeddings", 200, 0.02, {})
        metrics.ready(EngineState("ready"))

    text = first.text(EngineState("ready")).decode()
    assert _value(text, 'hearth_requests_total{route="/v1/embeddings",status="200"}') == 2
    assert _value(text, 'hearth_request_seconds_count{route="/v1/embeddings"}') == 2
    assert _value(text, 'hearth_request_seconds_bucket{le="0.01",route="/v1/embeddings"}') == 0
    assert _value(text, "hearth_ready") == 2


def test_a_process_that_is_started_again_goes_on_with_its_counters_and_not_with_its_gauges() -> None:
    memory = metrics_memory(2)
    parent, child = Metrics(memory), Metrics(memory, 1)
    spawn = multiprocessing.get_context("spawn")

    for count in (3, 4):
        process = spawn.Process(target=count_requests, args=(child, count))
        process.start()
        process.join()
    running = parent.text(EngineState("loading")).decode()
    child.clear_gauges()
    ended = parent.text(EngineState("loading")).decode()

    assert _value(running, 'hearth_refusals_total{reason="test"}') == 7
    assert _value(running, "hearth_requests_in_flight") == 4
    assert _value(ended, 'hearth_refusals_total{reason="test"}') == 7
    assert _value(ended, "hearth_requests_in_flight") == 0


def test_threads_lose_no_count() -> None:
    metrics = Metrics()
    threads = [threading.Thread(target=count_requests, args=(metrics, 2000)) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert _value(metrics.text(EngineState("ready")).decode(), 'hearth_refusals_total{reason="test"}') == 8000


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
