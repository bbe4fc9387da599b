"""What operators see at /metrics. One object per app, with a registry of its own."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from server.link import State

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
POWERS_OF_4 = tuple(4**power for power in range(10))


class Metrics:
    """Counters and histograms; any thread."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "hearth_requests_total", "Answered requests.", ("route", "status"), registry=self._registry
        )
        self._request_seconds = Histogram(
            "hearth_request_seconds", "Receipt to last byte.", ("route",), buckets=SECONDS, registry=self._registry
        )
        self._stage_seconds = Histogram(
            "hearth_stage_seconds",
            "Time of a request in one stage: tokenize, queue, forward, write.",
            ("stage",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._in_flight = Gauge("hearth_requests_in_flight", "Requests being answered.", registry=self._registry)
        self._tokens = Counter("hearth_tokens_total", "Tokens of forward passes.", registry=self._registry)
        self._batch_items = Histogram(
            "hearth_batch_items", "Inputs of a forward pass.", buckets=POWERS_OF_4[:7], registry=self._registry
        )
        self._batch_tokens = Histogram(
            "hearth_batch_tokens", "Tokens of a forward pass.", buckets=POWERS_OF_4, registry=self._registry
        )
        self._batch_seconds = Histogram(
            "hearth_batch_seconds", "Time of a forward pass.", buckets=SECONDS, registry=self._registry
        )

    def watch(self, state: Callable[[], State]) -> None:
        """Report the engine's queue and phase whenever metrics are read."""
        queued: Mapping[str, Callable[[], float]] = {
            "hearth_queue_items": lambda: state().waiting_items,
            "hearth_queue_tokens": lambda: state().waiting_tokens,
            "hearth_tokens_per_second": lambda: state().tokens_per_s,
            "hearth_ready": lambda: state().phase == "ready",
        }
        helps = ("Inputs that wait.", "Tokens that wait.", "Measured speed of forward passes.", "1 when serving.")
        for (name, read), text in zip(queued.items(), helps, strict=True):
            Gauge(name, text, registry=self._registry).set_function(read)

    def started(self) -> None:
        """A request came in."""
        self._in_flight.inc()

    def answered(self, route: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        """A request was answered, or its client left (499)."""
        self._in_flight.dec()
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        for stage, stage_seconds in stages.items():
            self._stage_seconds.labels(stage).observe(stage_seconds)

    def batch(self, items: int, tokens: int, seconds: float) -> None:
        """A forward pass ended."""
        self._tokens.inc(tokens)
        self._batch_items.observe(items)
        self._batch_tokens.observe(tokens)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
