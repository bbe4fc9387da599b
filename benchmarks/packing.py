"""Host time of packing: sort_by_prefix() in an HTTP process and pack() in an engine, by the processor time of each.

    python -m benchmarks.packing [--rounds 25]

With `costs` a prefix is shared only where that pays on the fastest GPU that is known, as modelled for Qwen3 0.6B.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.support.report import Rows, show
from benchmarks.support.token_ids import Texts, pairs, prose, random_texts
from models.layers.attention import sharing_costs
from models.packing import pack, sort_by_prefix

WORKLOADS: dict[str, Callable[[], Texts]] = {
    "512 texts of 32 random tokens": lambda: random_texts(512, 32),
    "512 texts of 32 tokens as in prose": lambda: prose(512, 32),
    "one query with 100 documents": lambda: pairs(100),
    "one text of 16 tokens": lambda: random_texts(1, 16),
}


def microseconds(run: Callable[[], object], rounds: int) -> float:
    """The median over some rounds, after one that does not count."""
    run()
    taken = []
    for _ in range(rounds):
        started = time.process_time_ns()
        run()
        taken.append(time.process_time_ns() - started)
    return statistics.median(taken) / 1000


def measure(rounds: int) -> Rows:
    """A row for each workload."""
    costs = sharing_costs(
        torch.device("cuda"), parameters=440_401_920, layers=28, hidden_size=1024, head_numbers=16 * 128
    )
    rows = [
        ["workload", "sort_by_prefix, us a text", "pack, us a text", "pack with costs, us a text", "tokens", "shared"]
    ]
    for name, make in WORKLOADS.items():
        texts = sort_by_prefix(make()).ids
        times = (
            microseconds(lambda texts=texts: sort_by_prefix(texts), rounds),  # type: ignore[misc]
            microseconds(lambda texts=texts: pack(texts), rounds),  # type: ignore[misc]
            microseconds(lambda texts=texts: pack(texts, costs=costs), rounds),  # type: ignore[misc]
        )
        tokens = sum(map(len, texts)), len(pack(texts, costs=costs).tokens)
        rows.append([name, *(f"{us / len(texts):.2f}" for us in times), f"{tokens[0]:,}", f"{tokens[0] - tokens[1]:,}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Host time of packing a batch.")
    parser.add_argument("--rounds", type=int, default=25)
    show("Packing", measure(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
