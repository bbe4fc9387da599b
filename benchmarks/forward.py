"""The packed forward pass beside transformers and sentence-transformers, on random weights of Qwen3 0.6B's layers.

    python -m benchmarks.forward --layers 7 --rounds 5 --out benchmarks/results/forward-7.json

Outputs are compared first. Rounds are interleaved, each contender's figure is its median, and ratios are of medians.
On a machine with other work, `--processor-time` counts the processor's seconds on one thread instead of the clock's.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.contenders import BATCH_TOKENS, Contender, Matrix, packed, sentence_transformers, transformers_padded
from benchmarks.workloads import Workload, mixed, query, rerank, uniform
from models import LoadOptions, load_backend, load_text
from models.onednn import layers_for
from models.packing import pack
from tests.checkpoints import build

Clock = Callable[[], float]

SHAPE: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
# Linear parameters of one layer of 0.6B, and of its keys and values: all that the last layer owes tokens not read.
KEY_VALUE_PARAMETERS = 1024 * (1024 + 1024)
LAYER_PARAMETERS = KEY_VALUE_PARAMETERS + 2 * 2048 * 1024 + 3 * 1024 * 3072


def interleaved(contenders: dict[str, Contender], workload: Workload, rounds: int, clock: Clock) -> dict[str, float]:
    """Median seconds of each, one after another in every round; the order turns, so that nobody is always first."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken[name].append(_timed(lambda name=name: contenders[name](workload), clock))  # type: ignore[misc]
    return {name: statistics.median(each) for name, each in taken.items()}


def worst_cosine(matrix: Matrix, other: Matrix) -> float:
    """The least cosine between rows of two contenders."""
    one, two = matrix.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return float(((one * two).sum(1) / lengths).min())


def ceiling_gflops(clock: Clock) -> float:
    """The best bfloat16 matrix product of this machine, over the four shapes of a layer, at 1,024 tokens."""
    linear, _ = layers_for(torch.device("cpu"), torch.bfloat16)
    best = 0.0
    for rows, columns in ((4096, 1024), (1024, 2048), (6144, 1024), (1024, 3072)):
        layer = linear(torch.randn(rows, columns).bfloat16())
        hidden = torch.randn(1024, columns).bfloat16()
        taken = [_timed(lambda layer=layer, hidden=hidden: layer(hidden), clock) for _ in range(12)]  # type: ignore[misc]
        best = max(best, 2 * rows * columns * 1024 / min(taken) / 1e9)
    return best


def _timed(call: Callable[[], object], clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start


def work_gflop(workload: Workload, layers: int) -> float:
    """Matrix products that the forest needs: attention is left out, so a share of the ceiling is never flattered."""
    forest = pack(list(workload.ids))
    tokens, ends = len(forest.tokens), len(forest.ends)
    last = KEY_VALUE_PARAMETERS * tokens + (LAYER_PARAMETERS - KEY_VALUE_PARAMETERS) * ends
    return 2 * (LAYER_PARAMETERS * (layers - 1) * tokens + last) / 1e9


def measure(
    workload: Workload, contenders: dict[str, Contender], *, rounds: int, layers: int, clock: Clock
) -> dict[str, Any]:
    """Compare, then time one workload; the first contender is ours."""
    ours, *others = contenders
    truth = contenders[ours](workload)
    agree = {name: worst_cosine(truth, contenders[name](workload)) for name in others}
    ceiling = ceiling_gflops(clock)
    medians = interleaved(contenders, workload, rounds, clock)
    return {
        "workload": workload.name,
        "tokens": workload.tokens,
        "unique_tokens": len(pack(list(workload.ids)).tokens),
        "seconds": {name: round(value, 4) for name, value in medians.items()},
        "times_ours": {name: round(medians[name] / medians[ours], 2) for name in others},
        "worst_cosine": {name: round(value, 5) for name, value in agree.items()},
        "tokens_per_second": round(workload.tokens / medians[ours]),
        "ceiling_gflops": round(ceiling),
        "share_of_ceiling": round(work_gflop(workload, layers) / medians[ours] / ceiling, 3),
        "load": round(os.getloadavg()[0], 2),
    }


def best_batch(of: Callable[[int], Contender], workload: Workload, clock: Clock) -> int:
    """The batch size at which sentence-transformers is fastest here."""
    return min((1, 2, 4, 8, 16), key=lambda batch: _timed(lambda: of(batch)(workload), clock))


def run(folder: Path, layers: int, rounds: int, seeds: int, clock: Clock) -> list[dict[str, Any]]:
    """Every workload, printed as it is done."""
    info = load_text(folder).info
    ours = packed(load_backend(folder, info, LoadOptions(dtype="bfloat16", backend="packed")))
    library = transformers_padded(folder, 32)
    st = sentence_transformers(folder)
    best = best_batch(st, mixed(0), clock)
    st_pair = {"sentence-transformers, batch 32": st(32), f"sentence-transformers, batch {best}": st(best)}
    plan: list[tuple[Workload, dict[str, Contender]]] = [
        (uniform(), {"packed": ours, "transformers, batch 32": library, **st_pair}),
        *((mixed(seed), {"packed": ours, **st_pair}) for seed in range(seeds)),
        (rerank(), {"packed": ours, "transformers, batch 32": library}),
        (rerank(shared=False), {"packed": ours}),
        *((query(tokens), {"packed": ours, "transformers": library}) for tokens in (4, 16, 64)),
    ]
    results = []
    for workload, contenders in plan:
        times = rounds * 4 if workload.tokens < 100 else rounds
        result = measure(workload, contenders, rounds=times, layers=layers, clock=clock)
        print(json.dumps(result), flush=True)
        results.append(result)
    return results


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures that are promised: medians over seeds, and prefixes' share of tokens beside their share of time."""
    of_mixed = [result for result in results if result["workload"].startswith("mixed")]
    names = list(of_mixed[0]["times_ours"])
    shared, unshared = (
        next(r for r in results if r["workload"] == name) for name in ("rerank, 1 x 100", "rerank, nothing shared")
    )
    saved_time = 1 - shared["seconds"]["packed"] / unshared["seconds"]["packed"]
    return {
        "mixed": {name: statistics.median(result["times_ours"][name] for result in of_mixed) for name in names},
        "rerank": shared["times_ours"],
        "tokens_saved_by_prefixes": round(1 - shared["unique_tokens"] / shared["tokens"], 3),
        "time_saved_by_prefixes": round(saved_time, 3),
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def main() -> None:
    """Build the checkpoint, run, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, default=7, help="of 0.6B's 28; 7 keep the run short")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5, help="draws of the mixed lengths")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--processor-time", action="store_true", help="one thread, its processor seconds")
    asked = parser.parse_args()
    if asked.processor_time:
        torch.set_num_threads(1)
    clock = time.process_time if asked.processor_time else time.perf_counter
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), dtype=torch.bfloat16, num_hidden_layers=asked.layers, vocab_size=151669, **SHAPE)
        results = run(Path(folder), asked.layers, asked.rounds, asked.seeds, clock)
    machine = {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "clock": "processor" if asked.processor_time else "wall",
        "torch": torch.__version__,
    }
    about = {"layers": asked.layers, "rounds": asked.rounds, "batch_tokens": BATCH_TOKENS, "machine": machine}
    whole = about | {"summary": summary(results), "results": results}
    print(json.dumps(whole["summary"], indent=2))
    if asked.out:
        asked.out.write_text(json.dumps(whole, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
