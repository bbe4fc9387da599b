"""What a run is judged by: waiting times, throughput, slowdown and fairness, and the table of them."""

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.simulation.virtual import Device, Run, Served
from benchmarks.support.report import Rows


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99; NaN without values."""
    p50, p99 = np.percentile(np.array(values), [50, 99]) if values else (np.nan, np.nan)
    return float(p50), float(p99)


def slowdown(request: Served, device: Device) -> float:
    """The time in the system divided by the time alone on an idle device."""
    tokens, budget = request.arrival.unique_tokens, device.limits.max_tokens
    batches = -(-tokens // budget)
    return request.seconds / (batches * device.batch_s + tokens * device.token_s + device.host_s)


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all values are equal, 1/n when one value is all of the sum."""
    array = np.array(values)
    return float(array.sum() ** 2 / (len(array) * (array**2).sum())) if len(array) else float("nan")


def bulk_tokens_per_s(run: Run) -> float:
    """The tokens of bulk requests that were computed per second, those of unanswered requests included."""
    done = sum(request.arrival.unique_tokens for request in run.of("bulk"))
    bulk = [request for request in run.unanswered if len(request.job.lengths) > 1]
    begun = sum(request.arrival.unique_tokens - request.job.waiting_tokens for request in bulk)
    return (done + begun) / run.seconds


def _milliseconds(run: Run, kind: str) -> str:
    p50, p99 = percentiles([request.seconds * 1000 for request in run.of(kind)])
    return "-" if np.isnan(p50) else f"{p50:,.0f} / {p99:,.0f}"


def _batches(run: Run) -> str:
    p50, p99 = percentiles([request.batches for request in run.of("query")])
    return "-" if np.isnan(p50) else f"{p50:.0f} / {p99:.0f}"


COLUMNS: dict[str, Callable[[Run], str]] = {
    "fill": lambda run: f"{run.fill:.0%}",
    "idle": lambda run: f"{run.idle_s / run.seconds:.1%}",
    "query p50 / p99 ms": lambda run: _milliseconds(run, "query"),
    "in batches": _batches,
    "rerank p50 / p99 ms": lambda run: _milliseconds(run, "rerank"),
    "bulk p50 / p99 ms": lambda run: _milliseconds(run, "bulk"),
    "crowd p50 / p99 ms": lambda run: _milliseconds(run, "crowd"),
    "recorded p50 / p99 ms": lambda run: _milliseconds(run, "recorded"),
    "bulk tokens/s": lambda run: f"{bulk_tokens_per_s(run):,.0f}",
    "slowdown p99": lambda run: f"{percentiles([slowdown(request, run.device) for request in run.served])[1]:,.1f}",
    "fairness": lambda run: f"{jain([1 / slowdown(request, run.device) for request in run.served]):.2f}",
}


def rows(runs: dict[str, Run]) -> Rows:
    """A header, then one row for each policy; columns without any value are left out."""
    table = [[name, *(column(run) for column in COLUMNS.values())] for name, run in runs.items()]
    filled = [number for number in range(len(COLUMNS) + 1) if any(row[number] != "-" for row in table)]
    return [[line[number] for number in filled] for line in [["rule", *COLUMNS], *table]]
