"""How much memory clients can make a small model take: texts of all lengths in requests of all sizes, for ten minutes.

    python -m benchmarks.memory [--minutes 10] [--out FILE]

The model has 1 MB of weights and 3 layers, so whatever grows is shapes, kernels and buffers. Three clients send 1 to 12
texts of 1 to 250 words each, one request after another. Resident memory of the engine and of the HTTP process is read
from /proc every 2 s; the start is the memory after one request.
"""

import argparse
import asyncio
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.checkpoints import qwen3_embedder
from benchmarks.support.client import Address, Connection, post
from benchmarks.support.report import RESULTS, Rows, machine, markdown, show, significant, write
from benchmarks.support.server import serve

SMALL = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 2048,
    "vocab_size": 512,
}
WORDS = (
    "the",
    "refund",
    "of",
    "an",
    "order",
    "is",
    "for",
    "a",
    "shop",
    "river",
    "bank",
    "money",
    "tea",
    "kettle",
    "to",
)
CLIENTS, MAX_TEXTS, MAX_WORDS = 3, 12, 250
EVERY_S = 2.0
LIMIT_MB = 300
WIDTH, HEIGHT, MARGIN = 640, 240, 40


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds since the start, and the resident memory of the engine and of the HTTP process, in MB."""

    seconds: float
    engine: float
    http: float


def resident_mb(pid: int) -> float:
    """The resident memory of a process, in MB."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def a_request(shapes: random.Random) -> bytes:
    """Some texts of some words."""
    texts = [
        " ".join(shapes.choices(WORDS, k=shapes.randint(1, MAX_WORDS))) for _ in range(shapes.randint(1, MAX_TEXTS))
    ]
    return post("/v1/embeddings", {"input": texts, "truncate": True})


async def drive(address: Address, seconds: float, engine: int, http: int) -> tuple[list[Sample], int]:
    """Samples while the clients run, and how many requests they had answered."""
    loop = asyncio.get_running_loop()
    first = await Connection.open(address)
    await first.send(post("/v1/embeddings", {"input": "the order"}))
    await first.close()
    begin = loop.time()
    samples, answered = [Sample(0.0, resident_mb(engine), resident_mb(http))], [0] * CLIENTS

    async def client(number: int) -> None:
        shapes, connection = random.Random(number), await Connection.open(address)
        while loop.time() < begin + seconds:
            await connection.send(a_request(shapes))
            answered[number] += 1
        await connection.close()

    async def watch() -> None:
        while loop.time() < begin + seconds:
            await asyncio.sleep(EVERY_S)
            samples.append(Sample(loop.time() - begin, resident_mb(engine), resident_mb(http)))

    await asyncio.gather(watch(), *map(client, range(CLIENTS)))
    return samples, sum(answered)


def table(samples: Sequence[Sample]) -> Rows:
    """For each process its memory at the start, how much more it took at most, and how much more at the end."""
    series = {"engine": [sample.engine for sample in samples], "HTTP": [sample.http for sample in samples]}
    rows = [
        [name, *(significant(mb) for mb in (values[0], max(values) - values[0], values[-1] - values[0]))]
        for name, values in series.items()
    ]
    return [["process", "start, MB", "most above it, MB", "at the end above it, MB"], *rows]


def draw(samples: Sequence[Sample]) -> str:
    """Memory above the start over time, as SVG, with the limit."""
    end, top = samples[-1].seconds, max(LIMIT_MB, *(sample.engine - samples[0].engine for sample in samples)) * 1.1

    def place(seconds: float, mb: float) -> str:
        x = MARGIN + seconds / end * (WIDTH - MARGIN - 10)
        return f"{x:.1f},{HEIGHT - MARGIN - mb / top * (HEIGHT - MARGIN - 10):.1f}"

    def line(values: Sequence[float], colour: str) -> str:
        points = " ".join(place(sample.seconds, mb) for sample, mb in zip(samples, values, strict=True))
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'

    said = f"memory above the start over {end / 60:.0f} minutes: engine blue, HTTP grey"
    over = place(0, LIMIT_MB).partition(",")[2]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            f'<path d="M{MARGIN} {over}H{WIDTH - 10}" stroke="#933" stroke-dasharray="4"/>',
            f'<text x="{MARGIN + 4}" y="{float(over) - 4:.0f}" font-size="12" fill="#933">limit {LIMIT_MB} MB</text>',
            line([sample.engine - samples[0].engine for sample in samples], "#1668b0"),
            line([sample.http - samples[0].http for sample in samples], "#888"),
            f'<text x="{MARGIN}" y="{HEIGHT - 8}" font-size="12">{said}</text></svg>\n',
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=RESULTS / "memory.md")
    options = parser.parse_args()
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        model = qwen3_embedder(Path(folder) / "small", **SMALL)
        size = (model / "model.safetensors").stat().st_size / 1e6
        with serve({"models": [str(model)]}) as server:
            (engine,) = server.children()
            samples, answered = asyncio.run(drive(server.address, options.minutes * 60, engine, server.pid))
    title = f"{answered:,} requests in {options.minutes:g} minutes, {size:.1f} MB of weights"
    show(title, table(samples))
    picture = options.out.with_suffix(".svg")
    write(picture, draw(samples))
    page = f"# Memory that clients drive\n\n`python -m benchmarks.memory`, server and clients on one machine: {where}\n"
    write(options.out, page, f"![Memory over time]({picture.name})\n", markdown(title, table(samples)))


if __name__ == "__main__":
    main()
