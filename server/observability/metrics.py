"""The metrics at /metrics: the sum over all processes, whichever of them answers."""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from prometheus_client import Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from server.engine.messages import BatchStats, EngineState
from server.observability.metric_page import PAGE_BYTES, MetricKey, MetricPage, Values
from server.shared_memory import SharedMemory

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
POWERS_OF_4 = tuple(4**power for power in range(10))
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))


@dataclass(frozen=True, slots=True)
class _Family:
    """One metric. `buckets` are the upper bounds of a histogram, without infinity."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Values of an entry: of a histogram a count for each bucket, one for infinity, and the sum."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


_REQUESTS = _Family("counter", "hearth_requests", "Answered requests.", ("route", "status"))
_REQUEST_SECONDS = _Family(
    "histogram", "hearth_request_seconds", "Time from receipt to last byte.", ("route",), SECONDS
)
_STAGES = "Time of a request in one stage: tokenize, queue, forward or write."
_STAGE_SECONDS = _Family("histogram", "hearth_stage_seconds", _STAGES, ("stage",), SECONDS)
_IN_FLIGHT = _Family("gauge", "hearth_requests_in_flight", "Requests that are running.")
_REFUSALS = _Family("counter", "hearth_refusals", "Refused requests and connections.", ("reason",))
_READY = _Family("gauge", "hearth_ready", "HTTP processes that are ready.")
_QUEUE_ITEMS = _Family("gauge", "hearth_queue_items", "Waiting inputs.", ("model",))
_QUEUE_TOKENS = _Family("gauge", "hearth_queue_tokens", "Waiting tokens.", ("model",))
_TOKENS_PER_SECOND = _Family("gauge", "hearth_tokens_per_second", "Speed of full forward passes.", ("model",))
_TOKENS = _Family("counter", "hearth_tokens", "Tokens that forward passes computed.", ("model",))
_BATCH_ITEMS = _Family("histogram", "hearth_batch_items", "Inputs in a forward pass.", (), POWERS_OF_4[:7])
_BATCH_TOKENS = _Family("histogram", "hearth_batch_tokens", "Tokens in a forward pass.", (), POWERS_OF_4)
_BATCH_FILL = _Family("histogram", "hearth_batch_fill", "Tokens in a forward pass / its limit.", (), TENTHS)
_RESTARTS = _Family("counter", "hearth_restarts", "Processes that ended or hung and were started again.", ("process",))
_LOG_LINES = _Family("counter", "hearth_log_lines_dropped", "Log lines that nobody read in time.")
_HOST_SECONDS = _Family("counter", "hearth_host_seconds", "Time spent preparing batches.")
_DEVICE_SECONDS = _Family("counter", "hearth_device_seconds", "Time of forward passes.")
_FAMILIES = (
    *(_REQUESTS, _REQUEST_SECONDS, _STAGE_SECONDS, _IN_FLIGHT, _REFUSALS, _READY, _QUEUE_ITEMS, _QUEUE_TOKENS),
    *(
        _TOKENS_PER_SECOND,
        _TOKENS,
        _BATCH_ITEMS,
        _BATCH_TOKENS,
        _BATCH_FILL,
        _RESTARTS,
        _LOG_LINES,
        _HOST_SECONDS,
        _DEVICE_SECONDS,
    ),
)
_GAUGES = {family.name for family in _FAMILIES if family.kind == "gauge"}


class Metrics(Collector):
    """Counters, gauges and histograms of one process; may be used from any thread.

    As an argument of a spawned process it writes there, and there alone, to the same page. A process that is started
    again goes on with the counters of the one before.
    """

    def __init__(self, memory: SharedMemory | None = None, number: int = 0) -> None:
        """Write to page `number` of the memory that all processes share; without memory there is no other process."""
        self._memory, self._number = memory, number
        pages = memory.view if memory is not None else memoryview(bytearray(PAGE_BYTES))
        self._pages = [MetricPage(pages[start : start + PAGE_BYTES]) for start in range(0, len(pages), PAGE_BYTES)]
        self._page = self._pages[number]
        # Two threads that add to one value would lose one of the two.
        self._lock = threading.Lock()
        self.clear_gauges()

    def __reduce__(self) -> tuple[Any, ...]:
        return Metrics, (self._memory, self._number)

    def of_process(self, number: int) -> "Metrics":
        """The metrics of another process, for an argument of its main function."""
        return Metrics(self._memory, number)

    def clear_gauges(self) -> None:
        """Forget what is now, as when the process has ended; counters stay."""
        for (name, *_), values in self._page.entries():
            if name in _GAUGES:
                values[0] = 0.0

    def restarted(self, process: str) -> None:
        """Count a process, engine or http, that ended or hung and was started again."""
        self._add(_RESTARTS, 1, process)

    def log_lines_dropped(self, lines: int) -> None:
        """Count log lines that nobody read."""
        self._add(_LOG_LINES, lines)

    def started(self) -> None:
        """Count a request that has arrived."""
        self._add(_IN_FLIGHT, 1)

    def answered(self, route: str, status: int, seconds: float, stages: Mapping[str, float]) -> None:
        """Count a request that was answered, or whose client disconnected (499)."""
        self._add(_IN_FLIGHT, -1)
        self._add(_REQUESTS, 1, route, str(status))
        self._observe(_REQUEST_SECONDS, seconds, route)
        for stage, stage_seconds in stages.items():
            self._observe(_STAGE_SECONDS, stage_seconds, stage)

    def refused(self, reason: str) -> None:
        """Count a request or a connection that was refused."""
        self._add(_REFUSALS, 1, reason)

    def batch(self, stats: BatchStats) -> None:
        """Count a forward pass that has ended."""
        self._add(_TOKENS, stats.tokens, stats.model)
        self._observe(_BATCH_ITEMS, stats.items)
        self._observe(_BATCH_TOKENS, stats.tokens)
        self._observe(_BATCH_FILL, stats.fill)
        self._add(_HOST_SECONDS, stats.host_s)
        self._add(_DEVICE_SECONDS, stats.device_s)

    def queue(self, state: EngineState) -> None:
        """Set the gauges of the engine's queues."""
        for model, queue in state.queues.items():
            self._set(_QUEUE_ITEMS, queue.items, model)
            self._set(_QUEUE_TOKENS, queue.tokens, model)
            self._set(_TOKENS_PER_SECOND, queue.tokens_per_s, model)

    def ready(self, state: EngineState) -> None:
        """Set the gauge of this process."""
        self._set(_READY, state.phase == "ready")

    def text(self, state: EngineState) -> bytes:
        """The metrics of all processes in Prometheus' text format."""
        self.ready(state)
        return generate_latest(self)

    def collect(self) -> Iterable[Metric]:
        """Every metric, as the sum over all processes."""
        sums: dict[str, dict[MetricKey, list[float]]] = {family.name: {} for family in _FAMILIES}
        for page in self._pages:
            for (name, *labels), values in page.entries():
                total = sums[name].setdefault(tuple(labels), [0.0] * len(values))
                total[:] = [a + b for a, b in zip(total, values, strict=True)]
        return [_metric(family, sums[family.name]) for family in _FAMILIES]

    def _values(self, family: _Family, labels: MetricKey) -> Values:
        return self._page.values((family.name, *labels), family.width)

    def _add(self, family: _Family, amount: float, *labels: str) -> None:
        values = self._values(family, labels)
        with self._lock:
            values[0] += amount

    def _set(self, family: _Family, value: float, *labels: str) -> None:
        self._values(family, labels)[0] = float(value)

    def _observe(self, family: _Family, value: float, *labels: str) -> None:
        values = self._values(family, labels)
        with self._lock:
            values[bisect_left(family.buckets, value)] += 1
            values[-1] += value


def metrics_memory(processes: int) -> SharedMemory:
    """The memory for the metrics of this many processes."""
    return SharedMemory(processes * PAGE_BYTES)


def _metric(family: _Family, entries: Mapping[MetricKey, list[float]]) -> Metric:
    # A metric without labels is there from the start.
    entries = entries or ({} if family.labels else {(): [0.0] * family.width})
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.text, labels=family.labels)
        for labels, values in entries.items():
            histogram.add_metric(labels, list(_buckets(family, values)), values[-1])
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.text, labels=family.labels)
    for labels, values in entries.items():
        metric.add_metric(labels, values[0])
    return metric


def _buckets(family: _Family, values: list[float]) -> Iterator[tuple[str, float]]:
    bounds = (*family.buckets, float("inf"))
    return zip(map(floatToGoString, bounds), accumulate(values[:-1]), strict=True)
