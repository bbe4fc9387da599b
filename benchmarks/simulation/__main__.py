"""Scheduling rules compared in virtual time: the server's real take_batch beside others', on modelled devices.

    python -m benchmarks.simulation [--seed 0] [--recorded FILE] [--out benchmarks/results/simulation.md]

Same seed, same table.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.simulation.arrivals import Arrival, bulk, bulk_clients, bulk_jobs, queries, recorded, reranks
from benchmarks.simulation.policies import POLICIES, Policy
from benchmarks.simulation.virtual import CPU, GPU, Device, Run, Served, simulate
from benchmarks.support.report import RESULTS, markdown, show, write


@dataclass(frozen=True, slots=True)
class Scenario:
    """A device and who asks it."""

    name: str
    device: Device
    arrivals: Sequence[Arrival]
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Requests a second of each kind, for some seconds."""

    seconds: float
    queries: float
    reranks: float
    bulk: float

    def arrivals(self, seed: int) -> list[Arrival]:
        """All of them."""
        return [
            *queries(seed, self.queries, self.seconds),
            *reranks(seed, self.reranks, self.seconds),
            *bulk_jobs(seed, self.bulk, self.seconds),
        ]


# Each about two thirds of what full batches would carry.
CPU_LOAD = Load(900, 4, 0.05, 0.015)
GPU_LOAD = Load(30, 200, 5, 4)


def bulk_then_query(device: Device, seed: int = 0) -> Scenario:
    """One request of 2,048 texts; a query when a tenth of it has run."""
    job = bulk(np.random.default_rng((seed, 5)), 0.0, 2048)
    at = sum(job.lengths) * device.seconds(device.limits.max_tokens) / device.limits.max_tokens / 10
    return Scenario("2,048 texts, then one query", device, [job, Arrival(at, "query", (30,))])


def eight_bulk_clients(device: Device, seed: int = 0, jobs: int = 3) -> Scenario:
    """Eight clients that always have 2,048 texts under way, and queries that come now and then."""
    clients = bulk_clients(seed, 8)
    tokens = sum(sum(one.lengths) for one in clients)
    seconds = jobs * tokens * device.seconds(device.limits.max_tokens) / device.limits.max_tokens
    # Of the device's time, queries take next to nothing: what is measured is their place in the queue.
    asking = queries(seed, 1000 / seconds, seconds)
    return Scenario("eight clients with 2,048 texts each, 1,000 queries", device, [*clients, *asking], seconds)


def scenarios(seed: int) -> list[Scenario]:
    """What is simulated when nothing else is asked."""
    return [
        Scenario("mixed, two thirds of capacity", GPU, GPU_LOAD.arrivals(seed)),
        eight_bulk_clients(GPU, seed),
        bulk_then_query(GPU, seed),
        Scenario("mixed, two thirds of capacity", CPU, CPU_LOAD.arrivals(seed)),
        eight_bulk_clients(CPU, seed),
        bulk_then_query(CPU, seed),
    ]


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """p50 and p99."""
    found = np.percentile(np.array(values), [50, 99]) if values else np.array([np.nan, np.nan])
    return float(found[0]), float(found[1])


def slowdown(one: Served, device: Device) -> float:
    """Time in the system over the time alone on an idle device."""
    tokens, budget = one.arrival.unique_tokens, device.limits.max_tokens
    batches = -(-tokens // budget)
    return one.seconds / (batches * device.batch_s + tokens * device.token_s + device.host_s)


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has everything."""
    found = np.array(values)
    return float(found.sum() ** 2 / (len(found) * (found**2).sum())) if len(found) else float("nan")


def bulk_tokens_per_s(run: Run) -> float:
    """Tokens of bulk requests that were computed, unanswered requests included."""
    done = sum(one.arrival.unique_tokens for one in run.of("bulk"))
    begun = sum(
        one.arrival.unique_tokens - one.job.waiting_tokens for one in run.unanswered if len(one.job.lengths) > 1
    )
    return (done + begun) / run.seconds


def _milliseconds(run: Run, kind: str) -> str:
    p50, p99 = percentiles([one.seconds * 1000 for one in run.of(kind)])
    return "-" if np.isnan(p50) else f"{p50:,.0f} / {p99:,.0f}"


def _batches(run: Run) -> str:
    p50, p99 = percentiles([one.batches for one in run.of("query")])
    return "-" if np.isnan(p50) else f"{p50:.0f} / {p99:.0f}"


COLUMNS: dict[str, Callable[[Run], str]] = {
    "fill": lambda run: f"{run.fill:.0%}",
    "idle": lambda run: f"{run.idle_s / run.seconds:.1%}",
    "query p50 / p99 ms": lambda run: _milliseconds(run, "query"),
    "in batches": _batches,
    "rerank p50 / p99 ms": lambda run: _milliseconds(run, "rerank"),
    "bulk p50 / p99 ms": lambda run: _milliseconds(run, "bulk"),
    "recorded p50 / p99 ms": lambda run: _milliseconds(run, "recorded"),
    "bulk tokens/s": lambda run: f"{bulk_tokens_per_s(run):,.0f}",
    "slowdown p99": lambda run: f"{percentiles([slowdown(one, run.device) for one in run.served])[1]:,.1f}",
    "fairness": lambda run: f"{jain([1 / slowdown(one, run.device) for one in run.served]):.2f}",
}


def compare(scenario: Scenario, policies: Sequence[Policy] = POLICIES) -> dict[str, Run]:
    """One scenario under every policy."""
    return {one.name: simulate(one, scenario.device, scenario.arrivals, scenario.until_s) for one in policies}


def rows(runs: dict[str, Run]) -> list[list[str]]:
    """A header, then a row a policy; columns that say nothing are left out."""
    table = [[name, *(column(run) for column in COLUMNS.values())] for name, run in runs.items()]
    telling = [number for number in range(len(COLUMNS) + 1) if any(row[number] != "-" for row in table)]
    return [[line[number] for number in telling] for line in [["rule", *COLUMNS], *table]]


def heading(scenario: Scenario) -> str:
    """What was simulated, in a line."""
    device = scenario.device
    return (
        f"{scenario.name}: {device.name}, {device.batch_s * 1e3:g} ms + {device.token_s * 1e6:g} us a token, "
        f"host {device.host_s * 1e3:g} ms, {device.limits.max_tokens:,} tokens a batch"
    )


NOTES = """\
Fill is tokens over budget. Idle is the share of time in which the device did nothing although something waited or was
being prepared. "In batches" counts the batches that ended while a query waited, its own included. Slowdown is the time
in the system over the time alone on an idle device; fairness is Jain's index over 1 / slowdown of all answered
requests. A device of the CPU kind prepares no batch while it computes one, so that the three moments of binding are one
there. Every rule has the same device, which computes shared prefixes once: "TEI's rule" and "vLLM's rule" are copies of
those rules, not those servers.
"""


def main() -> None:
    """Simulate, print, and write the page."""
    parser = argparse.ArgumentParser(description="Scheduling rules compared in virtual time.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recorded", type=Path, help="arrivals from a file, instead of the synthetic ones")
    parser.add_argument("--out", type=Path, default=RESULTS / "simulation.md")
    asked = parser.parse_args()
    page = [f"# Scheduling rules in virtual time\n\n`python -m benchmarks.simulation --seed {asked.seed}`\n\n{NOTES}"]
    for scenario in _from_file(asked.recorded) if asked.recorded else scenarios(asked.seed):
        lines = rows(compare(scenario))
        show(heading(scenario), lines)
        page.append(markdown(heading(scenario), lines))
    write(asked.out, *page)


def _from_file(file: Path) -> list[Scenario]:
    return [Scenario(file.name, device, recorded(file)) for device in (GPU, CPU)]


if __name__ == "__main__":
    main()
