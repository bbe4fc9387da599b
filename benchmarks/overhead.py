"""What everything but the model costs, over HTTP: the time of each stage with a backend that computes nothing.

    python -m benchmarks.overhead [--seconds 3] [--rounds 3] [--out FILE]

Server and client share the machine, so that on two cores the client limits the requests per second too.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.load import Figures, bodies, medians
from benchmarks.support.client import Address, Answer, get, measured, milliseconds, post, send_for
from benchmarks.support.report import RESULTS, Rows, machine, markdown, show, write
from benchmarks.support.server import FakeModel, ServerProcess, serve
from models import demo_models
from server.engine.batching import BatchLimits, Job, JobQueue, take_batch

STAGES = ("tokenize", "queue", "forward", "write")
FLOOD_CLIENTS = 16
REFUSED_CLIENTS = (1, 16)
# The flooding client has a low priority, so that it takes no time from the server.
FLOOD_NICENESS = 10
# Texts in the batches whose host time is measured.
PROBE_TEXTS = (64, 1024)


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of request, how many clients send it, and how many HTTP processes answer."""

    texts: int
    clients: int
    encoding: str
    workers: int

    @property
    def name(self) -> str:
        return f"{self.texts:,} text(s), {self.encoding}, {self.workers} HTTP process(es), {self.clients} clients"


SHAPES = [
    Shape(texts, clients, encoding, workers)
    for workers in (1, 2)
    for texts, clients in ((1, 32), (64, 8), (2048, 2))
    for encoding in ("float", "base64")
]


def without_networks(**config: Any) -> AbstractContextManager[ServerProcess]:
    """A server with the demo pair's names and widths, and a backend that computes nothing."""
    models = [{"path": path, "backend": "fake"} for path in demo_models()]
    return serve({"models": models, **config})


@contextmanager
def engine_on_own_core(server: ServerProcess) -> Iterator[None]:
    """Give the engine process a core of its own, and all other processes the rest.

    With two cores a third busy process would share the engine's core, and the operating system's time slices would
    count as the engine's time.
    """
    cores = sorted(os.sched_getaffinity(0))
    rest, last = set(cores[:-1]) or set(cores), {cores[-1]}
    [engine] = server.children()
    for process, allowed in ((server.pid, rest), (engine, last), (os.getpid(), rest)):
        for thread in Path(f"/proc/{process}/task").iterdir():
            os.sched_setaffinity(int(thread.name), allowed)
    yield
    os.sched_setaffinity(0, cores)


async def stages(address: Address, shape: Shape, requests: Sequence[bytes], seconds: float) -> Figures:
    """The figures of one shape; times are in milliseconds, medians over its requests unless named otherwise."""
    answers, growth = await measured(address, lambda: send_for(address, requests, shape.clients, seconds))
    assert all(answer.status == 200 for answer in answers), "a request was refused"
    times = [answer.seconds for answer in answers]
    by_stage = {name: milliseconds([answer.stages[name] for answer in answers], 50) for name in STAGES}
    rest = [answer.seconds - sum(answer.stages[name] for name in STAGES) for answer in answers]
    return {
        "requests/s": len(answers) / seconds,
        "texts/s": len(answers) * shape.texts / seconds,
        "p50 ms": milliseconds(times, 50),
        "p99 ms": milliseconds(times, 99),
        **by_stage,
        "the rest": milliseconds(rest, 50),
        "host us a batch": growth["hearth_host_seconds_total"] / max(growth["hearth_batch_tokens_count"], 1) * 1e6,
    }


def throughput(seconds: float, rounds: int) -> Rows:
    """Every shape; the two servers, with one HTTP process and with two, run through all rounds."""
    rounds_of: dict[Shape, list[Figures]] = {shape: [] for shape in SHAPES}
    with without_networks() as single, without_networks(workers=2) as double:
        addresses = {1: single.address, 2: double.address}
        requests = {shape: bodies(shape.texts, encoding_format=shape.encoding) for shape in SHAPES}
        for _ in range(rounds):
            for shape, figures in rounds_of.items():
                figures.append(asyncio.run(stages(addresses[shape.workers], shape, requests[shape], seconds)))
    rows = [(shape.name, medians(figures)) for shape, figures in rounds_of.items()]
    return [["request", *rows[0][1]], *([name, *map(_cell, row.values())] for name, row in rows)]


def host_time(seconds: float, rounds: int) -> Rows:
    """Host time of a batch while HTTP is idle, and while the HTTP process is saturated with other requests."""
    with without_networks(batching={"max_tokens": 65536}) as server, engine_on_own_core(server):
        rows = [_host_row(server.address, texts, seconds, rounds) for texts in PROBE_TEXTS]
    return [["texts of a batch", "HTTP idle", "HTTP saturated", "ratio"], *rows]


def _host_row(address: Address, texts: int, seconds: float, rounds: int) -> list[str]:
    probe = bodies(texts)
    idle, busy = [], []
    for _ in range(rounds):
        idle.append(asyncio.run(_host_us(address, probe, seconds)))
        with _flood(address):
            busy.append(asyncio.run(_host_us(address, probe, seconds)))
    idle_us, busy_us = statistics.median(idle), statistics.median(busy)
    return [f"{texts:,}", f"{idle_us:,.0f} us", f"{busy_us:,.0f} us", f"{busy_us / idle_us:.2f}"]


async def _host_us(address: Address, requests: Sequence[bytes], seconds: float) -> float:
    _, growth = await measured(address, lambda: send_for(address, requests, 1, seconds))
    return growth["hearth_host_seconds_total"] / growth["hearth_batch_tokens_count"] * 1e6


@contextmanager
def _flood(address: Address) -> Iterator[None]:
    process = get_context("spawn").Process(target=_ask_for_models, args=(address,), daemon=True)
    process.start()
    time.sleep(1)
    yield
    process.terminate()
    process.join()


def _ask_for_models(address: Address) -> None:
    os.nice(FLOOD_NICENESS)
    asyncio.run(send_for(address, [get("/v1/models")], FLOOD_CLIENTS, 3600))


def refusals(rounds: int) -> Rows:
    """How fast a full queue refuses the requests of one client and of many."""
    limits = {"limits": {"inputs": 8, "documents": 8}, "batching": {"queue_items": 8}}
    with tempfile.TemporaryDirectory() as folder:
        model = FakeModel(Path(folder) / "model")
        with serve({"models": [model.config], **limits}) as server:
            model.hold()
            rows = [_refusal_row(server.address, clients, rounds) for clients in REFUSED_CLIENTS]
            model.release()
    return [["clients", "p50 ms", "p95 ms", "p99 ms"], *rows]


def _refusal_row(address: Address, clients: int, rounds: int) -> list[str]:
    times = [answer.seconds for answer in asyncio.run(_refused(address, clients, rounds))]
    return [f"{clients}", *(f"{milliseconds(times, percent):.1f}" for percent in (50, 95, 99))]


async def _refused(address: Address, clients: int, rounds: int) -> list[Answer]:
    holding = asyncio.create_task(send_for(address, [post("/v1/embeddings", {"input": ["a"] * 8})], 1, 0.1))
    await asyncio.sleep(0.5)
    answers = await send_for(address, [post("/v1/embeddings", {"input": "b"})], clients, rounds)
    holding.cancel()
    assert {answer.status for answer in answers} == {429}, "the queue was not full"
    return answers


def choosing(rounds: int = 21) -> Rows:
    """take_batch alone, over many waiting jobs of one text: short ones that share a batch, long ones that fill it."""
    rows = []
    for jobs in (100, 1000, 100_000):
        fitting, filling = (statistics.median(_take_us(jobs, tokens) for _ in range(rounds)) for tokens in (30, 700))
        rows.append([f"{jobs:,}", f"{fitting:,.0f}", f"{filling:,.0f}"])
    return [["waiting jobs", "texts of 30 tokens: us", "texts of 700 tokens: us"], *rows]


def _take_us(count: int, tokens: int) -> float:
    queue = JobQueue(Job((b"", number), "model", (tokens,), (0,), number * 1e-4) for number in range(count))
    started = time.perf_counter()
    take_batch(queue, BatchLimits(1024, 2048), 1.0, {"model": 1e-4})
    return (time.perf_counter() - started) * 1e6


def _cell(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What everything but the model costs, over HTTP.")
    parser.add_argument("--seconds", type=float, default=3, help="duration of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind")
    parser.add_argument("--out", type=Path, default=RESULTS / "overhead.md", help="the page to write")
    options = parser.parse_args()
    page = [f"# Overhead\n\n`python -m benchmarks.overhead`, server and client on one machine: {machine()}\n"]
    tables: dict[str, Callable[[], Rows]] = {
        "Choosing a batch": choosing,
        "Refusals by a full queue": lambda: refusals(options.rounds),
        "Host time of a batch in the engine process": lambda: host_time(options.seconds, options.rounds),
        "Requests, medians; the time of stages in ms": lambda: throughput(options.seconds, options.rounds),
    }
    for title, measure in tables.items():
        rows = measure()
        show(title, rows)
        page.append(markdown(title, rows))
    write(options.out, *page)


if __name__ == "__main__":
    main()
