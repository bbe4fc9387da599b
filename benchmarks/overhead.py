"""What everything but the model costs, over HTTP: a backend that computes nothing, and the time of each stage.

    python -m benchmarks.overhead [--seconds 3] [--rounds 3] [--out FILE]

Server and client share the machine: with two cores, requests a second are also what the client can ask.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.load import Figures, bodies, medians
from benchmarks.support.client import Address, Answer, ask_for, get, measured, milliseconds, post
from benchmarks.support.report import RESULTS, machine, markdown, show, write
from models import demo_models
from server.engine.batching import BatchLimits, Job, take_batch
from tests.support.server.fake_models import FakeModel, children, pid_of
from tests.support.server.process import Hearth

STAGES = ("tokenize", "queue", "forward", "write")
FLOOD_CLIENTS = 16
# Of a flooding client, so that it takes no time from the server.
FLOOD_NICENESS = 10
# Texts of the batches whose host time is looked at.
PROBES = (64, 1024)


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of request, and how many clients send it."""

    texts: int
    clients: int
    encoding: str
    workers: int

    @property
    def name(self) -> str:
        """As a row of the table is called."""
        return f"{self.texts:,} text(s), {self.encoding}, {self.workers} HTTP process(es), {self.clients} clients"


SHAPES = [
    Shape(texts, clients, encoding, workers)
    for workers in (1, 2)
    for texts, clients in ((1, 32), (64, 8), (2048, 2))
    for encoding in ("float", "base64")
]


@contextmanager
def fake_hearth(**config: Any) -> Iterator[Hearth]:
    """The demo pair's names and widths without its networks."""
    models = [{"path": path, "backend": "fake"} for path in demo_models()]
    with tempfile.TemporaryDirectory() as folder, Hearth(Path(folder), {"models": models, **config}) as hearth:
        yield hearth


@contextmanager
def apart(hearth: Hearth) -> Iterator[None]:
    """Give the engine a core of its own, and everything else the others: a third busy process on two cores takes turns
    with it, and turns are the operating system's time, not the engine's.
    """
    cores = sorted(os.sched_getaffinity(0))
    others, own = set(cores[:-1]) or set(cores), {cores[-1]}
    [engine] = children(pid_of(hearth))
    for process, allowed in ((pid_of(hearth), others), (engine, own), (os.getpid(), others)):
        for thread in Path(f"/proc/{process}/task").iterdir():
            os.sched_setaffinity(int(thread.name), allowed)
    yield
    os.sched_setaffinity(0, cores)


async def stages(address: Address, shape: Shape, requests: Sequence[bytes], seconds: float) -> Figures:
    """One shape's figures: medians of its requests."""
    answers, grown = await measured(address, lambda: ask_for(address, requests, shape.clients, seconds))
    assert all(answer.status == 200 for answer in answers), "a request was refused"
    times = [answer.seconds for answer in answers]
    of_stages = {name: milliseconds([answer.stages[name] for answer in answers], 50) for name in STAGES}
    rest = [answer.seconds - sum(answer.stages[name] for name in STAGES) for answer in answers]
    return {
        "requests/s": len(answers) / seconds,
        "texts/s": len(answers) * shape.texts / seconds,
        "p50 ms": milliseconds(times, 50),
        "p99 ms": milliseconds(times, 99),
        **of_stages,
        "the rest": milliseconds(rest, 50),
        "host us a batch": grown["hearth_host_seconds_total"] / max(grown["hearth_batch_tokens_count"], 1) * 1e6,
    }


def throughput(seconds: float, rounds: int) -> list[list[str]]:
    """Every shape; a server for each number of workers lives through all rounds."""
    found: dict[Shape, list[Figures]] = {shape: [] for shape in SHAPES}
    with fake_hearth() as one, fake_hearth(workers=2) as two:
        addresses = {1: one.address, 2: two.address}
        requests = {shape: bodies(shape.texts, encoding_format=shape.encoding) for shape in SHAPES}
        for _ in range(rounds):
            for shape, each in found.items():
                each.append(asyncio.run(stages(addresses[shape.workers], shape, requests[shape], seconds)))
    rows = [(shape.name, medians(each)) for shape, each in found.items()]
    return [["request", *rows[0][1]], *([name, *map(_written, row.values())] for name, row in rows)]


def host_time(seconds: float, rounds: int) -> list[list[str]]:
    """Host time of a batch while HTTP is idle, and while it answers as much as it can of something else."""
    with fake_hearth(batching={"max_tokens": 65536}) as hearth, apart(hearth):
        rows = [_host_row(hearth.address, texts, seconds, rounds) for texts in PROBES]
    return [["texts of a batch", "HTTP idle", "HTTP saturated", "ratio"], *rows]


def _host_row(address: Address, texts: int, seconds: float, rounds: int) -> list[str]:
    probe = bodies(texts)
    idle, busy = [], []
    for _ in range(rounds):
        idle.append(asyncio.run(_host_us(address, probe, seconds)))
        with _flood(address):
            busy.append(asyncio.run(_host_us(address, probe, seconds)))
    quiet, loud = statistics.median(idle), statistics.median(busy)
    return [f"{texts:,}", f"{quiet:,.0f} us", f"{loud:,.0f} us", f"{loud / quiet:.2f}"]


async def _host_us(address: Address, requests: Sequence[bytes], seconds: float) -> float:
    _, grown = await measured(address, lambda: ask_for(address, requests, 1, seconds))
    return grown["hearth_host_seconds_total"] / grown["hearth_batch_tokens_count"] * 1e6


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
    asyncio.run(ask_for(address, [get("/v1/models")], FLOOD_CLIENTS, 3600))


def refusals(rounds: int) -> list[list[str]]:
    """How fast a full queue says so, to one client and to many."""
    found: dict[int, list[Answer]] = {1: [], 16: []}
    config = {"limits": {"inputs": 8, "documents": 8}, "batching": {"queue_items": 8}}
    with tempfile.TemporaryDirectory() as folder:
        model = FakeModel(Path(folder) / "model")
        with Hearth(Path(folder) / "server", {"models": [model.config], **config}) as hearth:
            model.hold()
            for clients, answers in found.items():
                answers += asyncio.run(_refused(hearth.address, clients, rounds))
            model.release()
    rows = [
        [f"{clients}", *(f"{milliseconds([one.seconds for one in answers], p):.1f}" for p in (50, 95, 99))]
        for clients, answers in found.items()
    ]
    return [["clients", "p50 ms", "p95 ms", "p99 ms"], *rows]


async def _refused(address: Address, clients: int, rounds: int) -> list[Answer]:
    holding = asyncio.create_task(ask_for(address, [post("/v1/embeddings", {"input": ["a"] * 8})], 1, 0.1))
    await asyncio.sleep(0.5)
    answers = await ask_for(address, [post("/v1/embeddings", {"input": "b"})], clients, rounds)
    holding.cancel()
    assert {answer.status for answer in answers} == {429}, "the queue was not full"
    return answers


def choosing(rounds: int = 21) -> list[list[str]]:
    """take_batch itself, over many waiting jobs of one text: those that fit, and those of which only one does."""
    rows = []
    for jobs in (100, 1000, 5000):
        fitting, filling = (statistics.median(_take_us(jobs, tokens) for _ in range(rounds)) for tokens in (30, 700))
        rows.append([f"{jobs:,}", f"{fitting:,.0f}", f"{filling:,.0f}"])
    return [["waiting jobs", "texts of 30 tokens: us", "texts of 700 tokens: us"], *rows]


def _take_us(count: int, tokens: int) -> float:
    jobs = [Job((b"", number), "model", (tokens,), (0,), number * 1e-4) for number in range(count)]
    started = time.perf_counter()
    take_batch(jobs, BatchLimits(1024, 2048), 1.0, {"model": 1e-4})
    return (time.perf_counter() - started) * 1e6


def _written(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="What everything but the model costs, over HTTP.")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "overhead.md")
    asked = parser.parse_args()
    page = [f"# Overhead\n\n`python -m benchmarks.overhead`, server and client on one machine: {machine()}\n"]
    tables: dict[str, Callable[[], list[list[str]]]] = {
        "Choosing a batch": choosing,
        "Refusals by a full queue": lambda: refusals(asked.rounds),
        "Host time of a batch in the engine process": lambda: host_time(asked.seconds, asked.rounds),
        "Requests, medians; the time of stages in ms": lambda: throughput(asked.seconds, asked.rounds),
    }
    for title, measure in tables.items():
        table = measure()
        show(title, table)
        page.append(markdown(title, table))
    write(asked.out, *page)


if __name__ == "__main__":
    main()
