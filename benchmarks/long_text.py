"""What a long text costs on a CPU, and how long queries wait beside it: as one batch, and in parts.

    python -m benchmarks.long_text [--tokens 8192 32768] [--layers 2] [--rounds 3] [--out FILE]

Two servers run the same random weights in Qwen3 0.6B's shape with few layers: one computes texts as a whole
(`batching.chunk_tokens: 0`), the other one in parts. In each round both get the long text alone, and then beside a
query at fixed intervals, whether or not those before it were answered; the servers take turns. The time of the text
alone is counted in processor seconds of the engine, which other work on the machine changes little; waits are
wall-clock time.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.support.checkpoints import qwen3_embedder
from benchmarks.support.client import Address, Answer, Connection, milliseconds, post
from benchmarks.support.report import RESULTS, Rows, machine, markdown, show, significant, write
from benchmarks.support.server import ServerProcess, serve

BATCHING: Mapping[str, Mapping[str, Any]] = {"as one batch": {"chunk_tokens": 0}, "in parts": {}}
QUERY = post("/v1/embeddings", {"input": "how do I get my money back"})
TIMEOUT_S = 3600
MIB = 2**20


@dataclass(slots=True)
class Figures:
    """Of one server and one length: processor seconds alone, wall seconds beside queries, their waits, and memory."""

    alone_s: list[float] = field(default_factory=list)
    beside_s: list[float] = field(default_factory=list)
    query_s: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)


class Engine:
    """The engine process of a server, as the system sees it."""

    def __init__(self, server: ServerProcess) -> None:
        self.address = server.address
        self._proc = Path(f"/proc/{server.children()[0]}")

    def processor_s(self) -> float:
        """Processor seconds of all its threads so far."""
        user, system = self._proc.joinpath("stat").read_text("ascii").rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def forget_peak(self) -> None:
        """Let the peak of resident memory begin anew."""
        self._proc.joinpath("clear_refs").write_text("5", "ascii")

    def memory_mib(self, entry: str) -> float:
        """VmHWM, the peak, or VmRSS, now."""
        lines = self._proc.joinpath("status").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(entry)) * 1024 / MIB


def alone(engine: Engine, text: bytes, figures: Figures) -> None:
    """Send the text, and note its processor seconds and what the engine's memory grew by."""
    engine.forget_peak()
    at_rest, before_s = engine.memory_mib("VmRSS"), engine.processor_s()
    asyncio.run(_ask(engine.address, text))
    figures.alone_s.append(engine.processor_s() - before_s)
    figures.peak_mib.append(engine.memory_mib("VmHWM") - at_rest)


def beside(engine: Engine, text: bytes, every_s: float, figures: Figures) -> None:
    """Send the text, and a query every `every_s` seconds until it is answered."""
    answer, queries = asyncio.run(_together(engine.address, text, every_s))
    figures.beside_s.append(answer.seconds)
    figures.query_s += [query.seconds for query in queries]


async def _together(address: Address, text: bytes, every_s: float) -> tuple[Answer, list[Answer]]:
    long = asyncio.create_task(_ask(address, text))
    # The text has begun when the first query arrives.
    await asyncio.wait([long], timeout=every_s)
    queries = []
    while not long.done():
        queries.append(asyncio.create_task(_ask(address, QUERY)))
        await asyncio.wait([long], timeout=every_s)
    return await long, list(await asyncio.gather(*queries))


async def _ask(address: Address, request: bytes) -> Answer:
    connection = await Connection.open(address)
    answer = await connection.send(request)
    await connection.close()
    assert answer.status == 200, f"the answer to a request has status {answer.status}"
    return answer


def measure(layers: int, tokens: list[int], rounds: int, every_s: float) -> dict[tuple[int, str], Figures]:
    """The figures by length and by how the text is computed."""
    figures = {(length, how): Figures() for length in tokens for how in BATCHING}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model"
        model = {"path": str(qwen3_embedder(folder, num_hidden_layers=layers, vocab_size=1024))}
        common = {"models": [model], "request_timeout_s": TIMEOUT_S}
        engines = {
            how: Engine(stack.enter_context(serve(common | {"batching": {**batching, "queue_seconds": TIMEOUT_S}})))
            for how, batching in BATCHING.items()
        }
        for length in tokens:
            for number in range(rounds):
                for how in list(BATCHING)[:: 1 if number % 2 else -1]:
                    # A letter is a token, and the terminator is one more.
                    text = post("/v1/embeddings", {"input": "abcdefg " * (length // 8 - 1) + "1234567"})
                    alone(engines[how], text, figures[length, how])
                    beside(engines[how], text, every_s, figures[length, how])
    return figures


def table(figures: Mapping[tuple[int, str], Figures]) -> Rows:
    """One row for each length and way, below a header."""
    header = [
        *("tokens", "computed", "alone, processor s", "against one batch", "beside queries, s"),
        *("queries", "wait p50 ms", "wait p99 ms", "memory of the first, MiB", "of the later ones, MiB"),
    ]
    return [header, *(_row(length, how, figures) for length, how in figures)]


def _row(length: int, how: str, figures: Mapping[tuple[int, str], Figures]) -> list[str]:
    own, whole = figures[length, how], figures[length, next(iter(BATCHING))]
    ratio = statistics.median(ours / theirs for ours, theirs in zip(own.alone_s, whole.alone_s, strict=True))
    waits = [significant(milliseconds(own.query_s, percent)) for percent in (50, 99)] if own.query_s else ["", ""]
    first, *later = own.peak_mib
    memory = [significant(first), significant(max(later)) if later else ""]
    times = significant(statistics.median(own.alone_s)), f"{ratio:.2f}", significant(statistics.median(own.beside_s))
    return [f"{length:,}", how, *times, str(len(own.query_s)), *waits, *memory]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="A long text on a CPU as one batch and in parts, and queries beside it."
    )
    parser.add_argument("--tokens", type=int, nargs="+", default=[8192, 32768], help="lengths of the text")
    parser.add_argument("--layers", type=int, default=2, help="layers of the network; Qwen3 0.6B has 28")
    parser.add_argument("--rounds", type=int, default=3, help="texts of each length, alone and beside queries")
    parser.add_argument("--every-s", type=float, default=0.5, help="seconds between two queries")
    parser.add_argument("--out", type=Path, default=RESULTS / "long_text.md", help="the page to write")
    options = parser.parse_args()
    where = machine()
    rows = table(measure(options.layers, options.tokens, options.rounds, options.every_s))
    title = f"{options.layers} layers, a query every {options.every_s:g} s, {options.rounds} rounds"
    show(title, rows)
    page = f"# A long text beside queries\n\n`python -m benchmarks.long_text`, all on one machine: {where}\n"
    write(options.out, page, markdown(title, rows))


if __name__ == "__main__":
    main()
