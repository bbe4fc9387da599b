"""The metrics at /metrics.

With several processes, each writes its values to a folder (PROMETHEUS_MULTIPROC_DIR, which must be set before
prometheus_client is imported), and the process that serves /metrics adds them up.
"""

import os
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from server.engine.messages import BatchStats, EngineState

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
POWERS_OF_4 = tuple(4**power for power in range(10))
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))


class Metrics:
    """Counters, gauges and histograms of one process; may be used from any thread."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("hearth_requests", "Answered requests.", ("route", "status"), registry=registry)
        self._request_seconds = _seconds("hearth_request_seconds", "Time from receipt to last byte.", registry, "route")
        stages = "Time of a request in one stage: tokenize, queue, forward or write."
        self._stage_seconds = _seconds("hearth_stage_seconds", stages, registry, "stage")
        self._in_flight = _gauge("hearth_requests_in_flight", "Requests that are running.", registry)
        self._refusals = Counter("hearth_refusals", "Refused requests and connections.", ("reason",), registry=registry)
        self._ready = _gauge("hearth_ready", "HTTP processes that are ready.", registry)
        self._queue_items = _gauge("hearth_queue_items", "Waiting inputs.", registry, "model")
        self._queue_tokens = _gauge("hearth_queue_tokens", "Waiting tokens.", registry, "model")
        self._tokens_per_s = _gauge("hearth_tokens_per_second", "Speed of full forward passes.", registry, "model")
        self._tokens = Counter("hearth_tokens", "Tokens that forward passes computed.", ("model",), registry=registry)
        self._batch_items = _histogram("hearth_batch_items", "Inputs in a forward pass.", POWERS_OF_4[:7], registry)
        self._batch_tokens = _histogram("hearth_batch_tokens", "Tokens in a forward pass.", POWERS_OF_4, registry)
        self._batch_fill = _histogram("hearth_batch_fill", "Tokens in a forward pass / its limit.", TENTHS, registry)
        restarts = "Processes that ended or hung and were started again."
        self._restarts = Counter("hearth_restarts", restarts, ("process",), registry=registry)
        self._host = Counter("hearth_host_seconds", "Time spent preparing batches.", registry=registry)
        self._device = Counter("hearth_device_seconds", "Time of forward passes.", registry=registry)

    def restarted(self, process: str) -> None:
        """Count a process, engine or http, that ended or hung and was started again."""
        self._restarts.labels(process).inc()

    def started(self) -> None:
        """Count a request that has arrived."""
        self._in_flight.inc()

    def answered(self, route: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        """Count a request that was answered, or whose client disconnected (499)."""
        self._in_flight.dec()
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        for stage, stage_seconds in stages.items():
            self._stage_seconds.labels(stage).observe(stage_seconds)

    def refused(self, reason: str) -> None:
        """Count a request or a connection that was refused."""
        self._refusals.labels(reason).inc()

    def batch(self, stats: BatchStats) -> None:
        """Count a forward pass that has ended."""
        self._tokens.labels(stats.model).inc(stats.tokens)
        self._batch_items.observe(stats.items)
        self._batch_tokens.observe(stats.tokens)
        self._batch_fill.observe(stats.fill)
        self._host.inc(stats.host_s)
        self._device.inc(stats.device_s)

    def queue(self, state: EngineState) -> None:
        """Set the gauges of the engine's queues."""
        for model, queue in state.queues.items():
            self._queue_items.labels(model).set(queue.items)
            self._queue_tokens.labels(model).set(queue.tokens)
            self._tokens_per_s.labels(model).set(queue.tokens_per_s)

    def ready(self, state: EngineState) -> None:
        """Set the gauge of this process."""
        self._ready.set(state.phase == "ready")

    def text(self, state: EngineState) -> bytes:
        """The metrics of all processes in Prometheus' text format."""
        self.ready(state)
        if FOLDER_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        combined = CollectorRegistry()
        MultiProcessCollector(combined)
        return generate_latest(combined)


def forget(pid: int) -> None:
    """Drop the gauges of a process that has ended; its counters stay."""
    if FOLDER_VARIABLE in os.environ:
        mark_process_dead(pid)


def _seconds(name: str, text: str, registry: CollectorRegistry, label: str) -> Histogram:
    return Histogram(name, text, (label,), buckets=SECONDS, registry=registry)


def _histogram(name: str, text: str, buckets: tuple[float, ...], registry: CollectorRegistry) -> Histogram:
    return Histogram(name, text, buckets=buckets, registry=registry)


def _gauge(name: str, text: str, registry: CollectorRegistry, *labels: str) -> Gauge:
    return Gauge(name, text, labels, registry=registry, multiprocess_mode="livesum")
