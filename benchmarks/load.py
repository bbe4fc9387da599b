"""Load test over HTTP: one client against many, which shows what batching gains and what it costs a lone request.

    python -m benchmarks.load [--url URL] [--clients 64] [--seconds 4] [--texts 1] [--rounds 3] [--out FILE]

Without --url it starts a server with the built-in demo pair. One client and many clients are measured in turn, and the
figures are medians over the rounds.
"""

import argparse
import asyncio
import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.support.client import Address, Answer, measured, milliseconds, post, send_for
from benchmarks.support.report import RESULTS, Rows, machine, markdown, show, significant, write
from benchmarks.support.server import serve
from models import demo_models

WORDS = ("the", "of", "search", "a", "model", "text", "query", "with", "what", "how", "river", "light", "stone", "red")
# About twenty tokens, the length of a question.
WORDS_OF_A_TEXT = 18
BODIES = 256

Figures = dict[str, float]


def bodies(texts: int, **fields: object) -> list[bytes]:
    """Requests with different texts, so that no prefix is shared between them."""
    random = np.random.default_rng(0)
    return [
        post("/v1/embeddings", {"input": [_text(random) for _ in range(texts)], **fields})
        for _ in range(max(BODIES // texts, 4))
    ]


def _text(random: np.random.Generator) -> str:
    return " ".join(random.choice(WORDS, WORDS_OF_A_TEXT))


async def figures(address: Address, requests: Sequence[bytes], clients: int, seconds: float) -> Figures:
    """The figures that the clients measure, and those that the server counts meanwhile."""
    answers, growth = await measured(address, lambda: send_for(address, requests, clients, seconds))
    good = [answer for answer in answers if answer.status == 200]
    assert good, f"no request was answered with 200; the first status is {answers[0].status}"
    batches = max(growth["hearth_batch_tokens_count"], 1)
    return {
        "requests/s": len(good) / seconds,
        "tokens/s": growth["hearth_tokens_total"] / seconds,
        **{f"p{percent} ms": milliseconds([answer.seconds for answer in good], percent) for percent in (50, 95, 99)},
        "p50 beside forward ms": milliseconds([_beside_forward(answer) for answer in good], 50),
        "batch fill": growth["hearth_batch_fill_sum"] / batches,
        "inputs a batch": growth["hearth_batch_items_sum"] / batches,
        "forwards a request": batches / len(good),
        "not answered with 200": float(len(answers) - len(good)),
    }


def _beside_forward(answer: Answer) -> float:
    return answer.seconds - answer.stages["forward"]


def medians(rounds: Sequence[Figures]) -> Figures:
    """The median of each figure over the rounds."""
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}


async def compare(address: Address, clients: int, seconds: float, texts: int, rounds: int) -> tuple[Figures, Figures]:
    """Measure one client and many clients in turn, after a warm-up that does not count."""
    requests = bodies(texts)
    await send_for(address, requests, clients, min(seconds, 1))
    alone, together = [], []
    for _ in range(rounds):
        alone.append(await figures(address, requests, 1, seconds))
        together.append(await figures(address, requests, clients, seconds))
    return medians(alone), medians(together)


def table(alone: Figures, together: Figures, clients: int) -> Rows:
    """One row for each figure, below a header."""
    header = ["", "1 client", f"{clients} clients", "ratio"]
    return [header, *(_row(name, value, together[name]) for name, value in alone.items())]


def _row(name: str, alone: float, together: float) -> list[str]:
    return [name, *map(significant, (alone, together, _ratio(together, alone)))]


def _ratio(value: float, base: float) -> float:
    return value / base if base else 0.0


@contextmanager
def demo_server() -> Iterator[Address]:
    """A server with the demo pair and every default."""
    models = [{"path": path} for path in demo_models()]
    with serve({"models": models}, OMP_NUM_THREADS=str(os.cpu_count())) as server:
        yield server.address


@contextmanager
def server_at(url: str) -> Iterator[Address]:
    """A server that is running already."""
    parts = urlsplit(url)
    yield parts.hostname or "127.0.0.1", parts.port or 80


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Load test over HTTP: one client against many.")
    parser.add_argument("--url", help="a running server; default: start one with the demo pair")
    parser.add_argument("--clients", type=int, default=64, help="clients of the second measurement")
    parser.add_argument("--seconds", type=float, default=4, help="duration of each measurement")
    parser.add_argument("--texts", type=int, default=1, help="texts in each request")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind")
    parser.add_argument("--out", type=Path, default=RESULTS / "load.md", help="the page to write")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    where = machine()
    with server_at(options.url) if options.url else demo_server() as address:
        medians = asyncio.run(compare(address, options.clients, options.seconds, options.texts, options.rounds))
    title = (
        f"{options.texts} text(s) of about 20 tokens a request, "
        f"{options.rounds} rounds of {options.seconds:g} s, medians"
    )
    rows = table(*medians, options.clients)
    show(title, rows)
    models = "another server" if options.url else "the demo pair"
    write(
        options.out,
        f"# Load\n\n`python -m benchmarks.load`, {models}, with its client on the same machine: {where}\n",
        markdown(title, rows),
    )


if __name__ == "__main__":
    main()
