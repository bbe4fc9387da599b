"""What an overloaded server still does: its goodput at 1, 2 and 5 times the load that it bears, and who waits for whom.

    python -m benchmarks.overload [--seconds 15] [--out FILE]

Refusals are timed twice: by the clients of the load, which share an event loop, and by a client in a process of its
own, which sees what the server takes.

The device is a sleep of 250 us a token, so that it is the limit and not the processor; fairness is measured with the
built-in demo embedder. Engine, HTTP process and generator get cores of their own where there are
enough. Clients try three times, as SDKs do, and give up on an answer after 10 s.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection as pipes
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.load import Figures, bodies
from benchmarks.support.client import Address, Answer, Connection, milliseconds, post, send_for
from benchmarks.support.open_loop import NO_ANSWER, OpenLoop, Try
from benchmarks.support.report import RESULTS, Rows, machine, markdown, show, significant, write
from benchmarks.support.server import FakeModel, ServerProcess, serve
from models import demo_models

SECONDS_PER_TOKEN = 250e-6
TEXTS = 4
LOADS = (1, 2, 5)
PEAK_CLIENTS = 32
# The share of a run that does not count: the queue fills.
WARM_UP = 0.3
CROWD = 300
SHORT_S = 0.1
ASK_EVERY_S = 0.03


def peak(address: Address, requests: Sequence[bytes], seconds: float) -> float:
    """Requests per second that a closed loop of clients gets."""
    asyncio.run(send_for(address, requests, PEAK_CLIENTS, seconds / 3))
    return len(asyncio.run(send_for(address, requests, PEAK_CLIENTS, seconds))) / seconds


def overloaded(address: Address, requests: Sequence[bytes], per_second: float, seconds: float) -> Figures:
    """The figures of clients that arrive at a fixed rate."""
    clients = OpenLoop(address, requests)
    with _lone_client(address, seconds) as refused_s:
        asyncio.run(clients.run(per_second, seconds))
    steady = [answer for answer in clients.tries if WARM_UP * seconds < answer.ended_s < seconds]
    good, refused = _seconds(steady, 200), _seconds(steady, 429)
    steady_s = seconds * (1 - WARM_UP)
    return {
        "offered/s": clients.sent / seconds,
        "goodput/s": len(good) / steady_s,
        "p50 s": milliseconds(good, 50) / 1000,
        "p99 s": milliseconds(good, 99) / 1000,
        "refusals/s": len(refused) / steady_s,
        "refusals p95 ms": milliseconds(refused, 95) if refused else 0.0,
        "a lone client's refusals p50 ms": milliseconds(refused_s, 50) if refused_s else 0.0,
        "p95 ms": milliseconds(refused_s, 95) if refused_s else 0.0,
        "refused three times": float(clients.gave_up),
        "no answer in 10 s": float(len(_seconds(clients.tries, NO_ANSWER))),
    }


@contextmanager
def _lone_client(address: Address, seconds: float) -> Iterator[list[float]]:
    """The times of refusals in the steady part of a run, once the block has ended."""
    receiver, sender = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(target=_ask_alone, args=(address, seconds, sender), daemon=True)
    process.start()
    times: list[float] = []
    yield times
    times += receiver.recv()
    process.join()


def _ask_alone(address: Address, seconds: float, sender: "pipes.Connection[list[float], None]") -> None:
    sender.send(asyncio.run(_ask_now_and_then(address, seconds)))


async def _ask_now_and_then(address: Address, seconds: float) -> list[float]:
    # Whoever can wait so little is refused as soon as anybody waits.
    request = post("/v1/embeddings", {"input": "a"}).replace(b"host:", b"x-request-timeout: %g\r\nhost:" % SHORT_S, 1)
    connection = await Connection.open(address)
    times, start = list[float](), time.perf_counter()
    while (now := time.perf_counter() - start) < seconds:
        answer = await connection.send(request)
        if answer.status == 429 and now > WARM_UP * seconds:
            times.append(answer.seconds)
        await asyncio.sleep(ASK_EVERY_S)
    await connection.close()
    return times


def _seconds(tries: Sequence[Try], status: int) -> list[float]:
    return [answer.seconds for answer in tries if answer.status == status]


def goodput(seconds: float) -> tuple[float, dict[int, Figures]]:
    """The peak, and the figures of each load."""
    requests = bodies(TEXTS)
    with tempfile.TemporaryDirectory() as folder:
        model = FakeModel(Path(folder) / "model", seconds_per_token=SECONDS_PER_TOKEN)
        with serve({"models": [model.config]}) as server, own_cores(server):
            best = peak(server.address, requests, seconds)
            return best, {load: overloaded(server.address, requests, load * best, seconds) for load in LOADS}


def fairness(seconds: float) -> Rows:
    """A query of one caller alone, and beside the many clients of another caller."""
    model = {"path": demo_models()[0]}
    with serve({"models": [model]}) as server, own_cores(server):
        query = [post("/v1/embeddings", {"input": "how do I get my money back"}, key="light")]
        alone = asyncio.run(send_for(server.address, query, 1, seconds))
        with _crowd(server.address):
            beside = asyncio.run(send_for(server.address, query, 1, seconds))
    names = ("alone", f"beside {CROWD} clients of another caller")
    header = ["queries of one caller", "requests/s", "p50 ms", "p99 ms", "p50, times alone"]
    return [header, *(_fair_row(*row, alone, seconds) for row in zip(names, (alone, beside), strict=True))]


def _fair_row(name: str, answers: Sequence[Answer], alone: Sequence[Answer], seconds: float) -> list[str]:
    p50, p99 = (milliseconds([answer.seconds for answer in answers], percent) for percent in (50, 99))
    times = p50 / milliseconds([answer.seconds for answer in alone], 50)
    return [name, *map(significant, (len(answers) / seconds, p50, p99, times))]


@contextmanager
def _crowd(address: Address) -> Iterator[None]:
    process = get_context("spawn").Process(target=_send_as_crowd, args=(address,), daemon=True)
    process.start()
    time.sleep(3)
    yield
    process.terminate()
    process.join()


def _send_as_crowd(address: Address) -> None:
    words = np.random.default_rng(0).choice(["refund", "river", "engine", "query", "light"], (256, 8))
    requests = [post("/v1/embeddings", {"input": " ".join(text)}, key="crowd") for text in words]
    asyncio.run(send_for(address, requests, CROWD, 3600))


@contextmanager
def own_cores(server: ServerProcess) -> Iterator[None]:
    """Give the engine and the HTTP process a core each, and this process the rest, if there are three at least."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= 3:
        engine, *_ = server.children()
        for process, allowed in ((engine, {cores[-1]}), (server.pid, {cores[-2]}), (os.getpid(), set(cores[:-2]))):
            for thread in Path(f"/proc/{process}/task").iterdir():
                os.sched_setaffinity(int(thread.name), allowed)
    yield
    os.sched_setaffinity(0, cores)


def table(best: float, figures: dict[int, Figures]) -> Rows:
    """One row for each load, below a header."""
    header = ["load", *figures[LOADS[0]], "goodput, of the peak"]
    return [header, *(_row(load, row, best) for load, row in figures.items())]


def _row(load: int, figures: Figures, best: float) -> list[str]:
    return [f"{load} times", *map(significant, figures.values()), f"{figures['goodput/s'] / best:.0%}"]


def draw(best: float, figures: dict[int, Figures]) -> str:
    """Offered load and goodput as bars, in SVG."""
    width, bar, scale = 640, 26, 480 / (LOADS[-1] * best)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bar * 9}" font-family="sans-serif">']
    lines.append(f'<rect width="{width}" height="{bar * 9}" fill="#fff"/>')
    for place, (load, row) in enumerate(figures.items()):
        top = bar * (3 * place + 0.5)
        for line, (what, colour) in enumerate((("offered/s", "#c9d3e0"), ("goodput/s", "#2f7d4f"))):
            y, length = top + line * bar, row[what] * scale
            lines.append(f'<rect x="60" y="{y}" width="{length:.0f}" height="{bar - 4}" fill="{colour}"/>')
            label = f"{row[what]:.0f} {what.removesuffix('/s')}"
            lines.append(f'<text x="{length + 66:.0f}" y="{y + 16}" font-size="13">{label}</text>')
        lines.append(f'<text x="8" y="{top + 30}" font-size="15">{load} x</text>')
    x = 60 + best * scale
    lines.append(f'<path d="M{x:.0f} 0V{bar * 9}" stroke="#933" stroke-dasharray="4"/>')
    lines.append(f'<text x="{x + 4:.0f}" y="{bar * 9 - 4}" font-size="12" fill="#933">peak {best:.0f}/s</text></svg>')
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="An overloaded server: goodput, refusals and fairness.")
    parser.add_argument("--seconds", type=float, default=15, help="duration of each measurement")
    parser.add_argument("--out", type=Path, default=RESULTS / "overload.md", help="the page to write; a picture beside")
    options = parser.parse_args()
    where = machine()
    best, figures = goodput(options.seconds)
    tables = {
        f"Requests of {TEXTS} texts; a closed loop of {PEAK_CLIENTS} clients gets {best:.0f}/s": table(best, figures),
        "Fairness": fairness(options.seconds),
    }
    for title, rows in tables.items():
        show(title, rows)
    picture = options.out.with_suffix(".svg")
    write(picture, draw(best, figures))
    page = f"# Overload\n\n`python -m benchmarks.overload`, server and clients on one machine: {where}\n"
    parts = [markdown(title, rows) for title, rows in tables.items()]
    write(options.out, page, f"![Offered load and goodput]({picture.name})\n", *parts)


if __name__ == "__main__":
    main()
