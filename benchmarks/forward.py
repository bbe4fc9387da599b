"""The packed forward pass beside transformers and sentence-transformers, on random weights of Qwen3 0.6B's layers.

    python -m benchmarks.forward --layers 7 --rounds 5 --out benchmarks/results/forward-7.json

Outputs are compared first. Rounds are interleaved, each contender's figure is its median, and ratios are of medians.
All run on the GPU where there is one, over more texts, and else on the CPU. On a machine with other work,
`--processor-time` counts the processor's seconds on one thread instead of the clock's.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.support.contenders import Clock, Contender, Matrix, clock_of, plan, scale_of, timed
from benchmarks.support.workloads import Workload
from models.devices import choose_device
from models.layers.onednn import layers_for
from models.packing import pack
from tests.support.checkpoints.qwen3 import build

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
            taken[name].append(timed(lambda name=name: contenders[name](workload), clock))  # type: ignore[misc]
    return {name: statistics.median(each) for name, each in taken.items()}


def worst_cosine(matrix: Matrix, other: Matrix) -> float:
    """The least cosine between rows of two contenders."""
    one, two = matrix.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return float(((one * two).sum(1) / lengths).min())


def ceiling_gflops(device: torch.device, clock: Clock) -> float:
    """The best bfloat16 matrix product of this device, over the four shapes of a layer, at the tokens of a batch."""
    linear, _ = layers_for(device, torch.bfloat16)
    tokens, best = scale_of(device).batch_tokens, 0.0
    for rows, columns in ((4096, 1024), (1024, 2048), (6144, 1024), (1024, 3072)):
        layer = linear(torch.randn(rows, columns, device=device).bfloat16())
        hidden = torch.randn(tokens, columns, device=device).bfloat16()
        taken = [timed(lambda layer=layer, hidden=hidden: layer(hidden), clock) for _ in range(12)]  # type: ignore[misc]
        best = max(best, 2 * rows * columns * tokens / min(taken) / 1e9)
    return best


def work_gflop(workload: Workload, layers: int) -> float:
    """Matrix products that the forest needs: attention is left out, so a share of the ceiling is never flattered."""
    forest = pack(list(workload.ids))
    tokens, ends = len(forest.tokens), len(forest.ends)
    last = KEY_VALUE_PARAMETERS * tokens + (LAYER_PARAMETERS - KEY_VALUE_PARAMETERS) * ends
    return 2 * (LAYER_PARAMETERS * (layers - 1) * tokens + last) / 1e9


def measure(
    workload: Workload,
    contenders: dict[str, Contender],
    *,
    device: torch.device,
    rounds: int,
    layers: int,
    clock: Clock,
) -> dict[str, Any]:
    """Compare, then time one workload; the first contender is ours."""
    ours, *others = contenders
    truth = contenders[ours](workload)
    agree = {name: worst_cosine(truth, contenders[name](workload)) for name in others}
    ceiling = ceiling_gflops(device, clock)
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


def run(
    folder: Path, device: torch.device, *, layers: int, rounds: int, seeds: int, clock: Clock
) -> list[dict[str, Any]]:
    """Every workload, printed as it is done."""
    results = []
    for workload, contenders in plan(folder, device, seeds, clock):
        times = rounds * 4 if workload.tokens < 100 else rounds
        result = measure(workload, contenders, device=device, rounds=times, layers=layers, clock=clock)
        print(json.dumps(result), flush=True)
        results.append(result)
    return results


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures that are promised: medians over seeds, and prefixes' share of tokens beside their share of time."""
    of_mixed = [result for result in results if result["workload"].startswith("mixed")]
    names = list(of_mixed[0]["times_ours"])
    shared, unshared = (
        next(r for r in results if r["workload"].startswith(name)) for name in ("rerank, 1 x", "rerank, nothing shared")
    )
    saved_time = 1 - shared["seconds"]["packed"] / unshared["seconds"]["packed"]
    return {
        "mixed": {name: statistics.median(result["times_ours"][name] for result in of_mixed) for name in names},
        "rerank": shared["times_ours"],
        "tokens_saved_by_prefixes": round(1 - shared["unique_tokens"] / shared["tokens"], 3),
        "time_saved_by_prefixes": round(saved_time, 3),
    }


def machine_of(device: torch.device, clock: str) -> dict[str, Any]:
    """What the figures were measured on, and by which clock."""
    machine = {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "clock": clock,
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        machine |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return machine


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def main() -> None:
    """Build the checkpoint, run, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, help="of 0.6B's 28: by default all on a GPU, and 7 on a CPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5, help="draws of the mixed lengths")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--processor-time", action="store_true", help="one thread of the CPU, its processor seconds")
    asked = parser.parse_args()
    if asked.processor_time:
        torch.set_num_threads(1)
    device = torch.device("cpu") if asked.processor_time else choose_device("auto")
    layers = asked.layers or (28 if device.type == "cuda" else 7)
    clock = time.process_time if asked.processor_time else clock_of(device)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), dtype=torch.bfloat16, num_hidden_layers=layers, vocab_size=151669, **SHAPE)
        results = run(Path(folder), device, layers=layers, rounds=asked.rounds, seeds=asked.seeds, clock=clock)
    machine = machine_of(device, "processor" if asked.processor_time else "wall")
    tokens = scale_of(device).batch_tokens
    about = {"layers": layers, "rounds": asked.rounds, "batch_tokens": tokens, "machine": machine}
    whole = about | {"summary": summary(results), "results": results}
    print(json.dumps(whole["summary"], indent=2))
    if asked.out:
        asked.out.write_text(json.dumps(whole, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
