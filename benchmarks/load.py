"""One client beside many, over HTTP: what sharing forward passes is worth, and what a lone request pays for it.

    python -m benchmarks.load [--url URL] [--clients 64] [--seconds 4] [--texts 1] [--rounds 3] [--out FILE]

Without --url the built-in demo pair is served for the while. The two take turns, and figures are medians over rounds.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from benchmarks.support.client import Address, Answer, ask_for, measured, milliseconds, post
from benchmarks.support.report import RESULTS, machine, markdown, show, write
from tests.support.server.process import Hearth

WORDS = ("the", "of", "search", "a", "model", "text", "query", "with", "what", "how", "river", "light", "stone", "red")
# About twenty tokens, as a question has.
WORDS_OF_A_TEXT = 18
BODIES = 256

Figures = dict[str, float]


def bodies(texts: int, **fields: object) -> list[bytes]:
    """Requests with different texts, so that nothing of one is computed for another."""
    random = np.random.default_rng(0)
    return [
        post("/v1/embeddings", {"input": [_text(random) for _ in range(texts)], **fields})
        for _ in range(max(BODIES // texts, 4))
    ]


def _text(random: np.random.Generator) -> str:
    return " ".join(random.choice(WORDS, WORDS_OF_A_TEXT))


async def figures(address: Address, requests: Sequence[bytes], clients: int, seconds: float) -> Figures:
    """What one crowd sees, and what the server counts meanwhile."""
    answers, grown = await measured(address, lambda: ask_for(address, requests, clients, seconds))
    good = [answer for answer in answers if answer.status == 200]
    assert good, f"no request was answered with 200, but with: {answers[0].status}"
    batches = max(grown["hearth_batch_tokens_count"], 1)
    return {
        "requests/s": len(good) / seconds,
        "tokens/s": grown["hearth_tokens_total"] / seconds,
        **{f"p{percent} ms": milliseconds([one.seconds for one in good], percent) for percent in (50, 95, 99)},
        "p50 beside forward ms": milliseconds([_beside_forward(one) for one in good], 50),
        "batch fill": grown["hearth_batch_fill_sum"] / batches,
        "inputs a batch": grown["hearth_batch_items_sum"] / batches,
        "forwards a request": batches / len(good),
        "not answered with 200": float(len(answers) - len(good)),
    }


def _beside_forward(answer: Answer) -> float:
    return answer.seconds - answer.stages["forward"]


def medians(rounds: Sequence[Figures]) -> Figures:
    """Of each figure."""
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


async def compare(address: Address, clients: int, seconds: float, texts: int, rounds: int) -> tuple[Figures, Figures]:
    """One client and many, in turns, after a round that does not count."""
    requests = bodies(texts)
    await ask_for(address, requests, clients, min(seconds, 1))
    found: dict[int, list[Figures]] = {1: [], clients: []}
    for _ in range(rounds):
        for count, each in found.items():
            each.append(await figures(address, requests, count, seconds))
    return medians(found[1]), medians(found[clients])


def lines(one: Figures, many: Figures, clients: int) -> list[list[str]]:
    """The table: a row a figure."""
    rows = [
        [name, _written(one[name]), _written(many[name]), _written(many[name] / one[name] if one[name] else 0)]
        for name in one
    ]
    return [["", "1 client", f"{clients} clients", "ratio"], *rows]


def _written(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@contextmanager
def demo_server() -> Iterator[Address]:
    """The demo pair, served as somebody who configures nothing gets it."""
    threads = {"OMP_NUM_THREADS": str(os.cpu_count())}
    with tempfile.TemporaryDirectory() as folder, Hearth(Path(folder), environment=threads) as hearth:
        yield hearth.address


@contextmanager
def server_at(url: str) -> Iterator[Address]:
    """A server that runs already."""
    parts = urlsplit(url)
    yield parts.hostname or "127.0.0.1", parts.port or 80


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="One client beside many, over HTTP.")
    parser.add_argument("--url", help="a running server; by default the demo pair is served for the while")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--texts", type=int, default=1, help="of each request")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "load.md")
    asked = parser.parse_args()
    where = machine()
    with server_at(asked.url) if asked.url else demo_server() as address:
        one, many = asyncio.run(compare(address, asked.clients, asked.seconds, asked.texts, asked.rounds))
    title = f"{asked.texts} text(s) of about 20 tokens a request, {asked.rounds} rounds of {asked.seconds:g} s, medians"
    table = lines(one, many, asked.clients)
    show(title, table)
    served = "another server" if asked.url else "the demo pair"
    write(
        asked.out,
        f"# Load\n\n`python -m benchmarks.load`, {served}, with its client on the same machine: {where}\n",
        markdown(title, table),
    )


if __name__ == "__main__":
    main()
