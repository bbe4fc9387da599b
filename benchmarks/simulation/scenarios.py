"""The scenarios of the simulation: a device, and the clients that send to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.simulation.arrivals import Arrival, bulk, bulk_clients, bulk_jobs, crowd, queries, reranks
from benchmarks.simulation.policies import POLICIES, Policy
from benchmarks.simulation.virtual import CPU, GPU, Device, Run, simulate


@dataclass(frozen=True, slots=True)
class Scenario:
    """A device, and the requests that arrive at it."""

    name: str
    device: Device
    arrivals: Sequence[Arrival]
    until_s: float | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Requests per second of each kind, and for how many seconds they arrive."""

    seconds: float
    queries: float
    reranks: float
    bulk: float

    def arrivals(self, seed: int) -> list[Arrival]:
        return [
            *queries(seed, self.queries, self.seconds),
            *reranks(seed, self.reranks, self.seconds),
            *bulk_jobs(seed, self.bulk, self.seconds),
        ]


# Each is about two thirds of the throughput with full batches.
CPU_LOAD = Load(900, 4, 0.05, 0.015)
GPU_LOAD = Load(30, 200, 5, 4)


def bulk_then_query(device: Device, seed: int = 0) -> Scenario:
    """One request of 2,048 texts, and a query that arrives when a tenth of them has run."""
    job = bulk(np.random.default_rng((seed, 5)), 0.0, 2048)
    at = sum(job.lengths) * device.seconds(device.limits.max_tokens) / device.limits.max_tokens / 10
    return Scenario("2,048 texts, then one query", device, [job, Arrival(at, "query", (30,))])


def eight_bulk_clients(device: Device, seed: int = 0, jobs: int = 3) -> Scenario:
    """Eight clients that always have a request of 2,048 texts in progress, and occasional queries."""
    clients = bulk_clients(seed, 8)
    tokens = sum(sum(client.lengths) for client in clients)
    seconds = jobs * tokens * device.seconds(device.limits.max_tokens) / device.limits.max_tokens
    # Queries take next to none of the device's time: what is measured is their place in the queue.
    short = queries(seed, 1000 / seconds, seconds)
    return Scenario("eight clients with 2,048 texts each, 1,000 queries", device, [*clients, *short], seconds)


def crowd_beside_queries(device: Device, seed: int = 0, clients: int = 300) -> Scenario:
    """A caller with 300 clients, and queries of another caller that take next to none of the device's time."""
    seconds = 500 * device.seconds(device.limits.max_tokens)
    light = [replace(arrival, caller="light") for arrival in queries(seed, 500 / seconds, seconds)]
    # The crowd comes when the speed of a lone query is known.
    many = [replace(arrival, seconds=seconds / 50) for arrival in crowd(seed, clients, caller="crowd")]
    return Scenario(f"one caller's {clients} clients, 500 queries of another caller", device, [*many, *light], seconds)


def scenarios(seed: int) -> list[Scenario]:
    """The scenarios that are simulated by default."""
    return [
        Scenario("mixed, two thirds of capacity", GPU, GPU_LOAD.arrivals(seed)),
        eight_bulk_clients(GPU, seed),
        bulk_then_query(GPU, seed),
        crowd_beside_queries(GPU, seed, 3000),
        Scenario("mixed, two thirds of capacity", CPU, CPU_LOAD.arrivals(seed)),
        eight_bulk_clients(CPU, seed),
        bulk_then_query(CPU, seed),
        crowd_beside_queries(CPU, seed),
    ]


def compare(scenario: Scenario, policies: Sequence[Policy] = POLICIES) -> dict[str, Run]:
    """One scenario under every policy."""
    return {policy.name: simulate(policy, scenario.device, scenario.arrivals, scenario.until_s) for policy in policies}


def heading(scenario: Scenario) -> str:
    """The scenario and its device in one line."""
    device = scenario.device
    return (
        f"{scenario.name}: {device.name}, {device.batch_s * 1e3:g} ms + {device.token_s * 1e6:g} us a token, "
        f"host {device.host_s * 1e3:g} ms, {device.limits.max_tokens:,} tokens a batch"
    )
