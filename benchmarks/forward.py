"""The packed forward pass against transformers and sentence-transformers, with random weights in Qwen3 0.6B's shape.

    python -m benchmarks.forward --layers 7 --rounds 5 --out benchmarks/results/forward-7.json

Outputs are compared first. Rounds are interleaved, the figure of a contender is its median, and ratios are ratios of
medians. Everything runs on the GPU where there is one, over more texts, and otherwise on the CPU. On a machine that
does other work, `--processor-time` counts the processor seconds of one thread instead of wall-clock time.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.support.checkpoints import qwen3_embedder
from benchmarks.support.contenders import Clock, Contender, Matrix, clock_of, plan, scale_of, timed
from benchmarks.support.report import processor
from benchmarks.support.workloads import Workload
from models.devices import choose_device
from models.layers.onednn import layers_for
from models.packing import pack

# Linear parameters of the keys and values of one layer of 0.6B, and of the whole layer. In the last layer, tokens that
# are not pooled need keys and values alone.
KEY_VALUE_PARAMETERS = 1024 * (1024 + 1024)
LAYER_PARAMETERS = KEY_VALUE_PARAMETERS + 2 * 2048 * 1024 + 3 * 1024 * 3072

# Products that are queued on a GPU between two readings of the clock.
GPU_PRODUCTS = 20


def interleaved(contenders: dict[str, Contender], workload: Workload, rounds: int, clock: Clock) -> dict[str, float]:
    """The median seconds of each contender; each round starts with another one, so that none is always first."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds[name].append(timed(lambda name=name: contenders[name](workload), clock))  # type: ignore[misc]
    return {name: statistics.median(values) for name, values in seconds.items()}


def worst_cosine(a: Matrix, b: Matrix) -> float:
    """The least cosine between a row of one matrix and the same row of the other."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / lengths).min())


def repeat(times: int, layer: Callable[[torch.Tensor], object], hidden: torch.Tensor) -> None:
    for _ in range(times):
        layer(hidden)


def ceiling_gflops(device: torch.device, clock: Clock) -> float:
    """The fastest bfloat16 matrix product of this device, over the four shapes of a layer and a full batch."""
    linear, _ = layers_for(device, torch.bfloat16)
    tokens, best = scale_of(device).batch_tokens, 0.0
    # A GPU is asked for many at once, so that its start and the wait for its end do not count.
    products = GPU_PRODUCTS if device.type == "cuda" else 1
    for rows, columns in ((4096, 1024), (1024, 2048), (6144, 1024), (1024, 3072)):
        layer = linear(torch.randn(rows, columns, device=device).bfloat16())
        hidden = torch.randn(tokens, columns, device=device).bfloat16()
        multiply = partial(repeat, products, layer, hidden)
        seconds = min(timed(multiply, clock) for _ in range(12)) / products
        best = max(best, 2 * rows * columns * tokens / seconds / 1e9)
    return best


def work_gflop(workload: Workload, layers: int) -> float:
    """The matrix products of the prefix forest without attention, so that no share of the ceiling is too high."""
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
    """Compare the contenders' outputs, then time them on one workload; the first contender is ours."""
    ours, *rivals = contenders
    vectors = contenders[ours](workload)
    cosines = {name: worst_cosine(vectors, contenders[name](workload)) for name in rivals}
    ceiling = ceiling_gflops(device, clock)
    medians = interleaved(contenders, workload, rounds, clock)
    return {
        "workload": workload.name,
        "tokens": workload.tokens,
        "unique_tokens": len(pack(list(workload.ids)).tokens),
        "seconds": {name: round(value, 4) for name, value in medians.items()},
        "times_ours": {name: round(medians[name] / medians[ours], 2) for name in rivals},
        "worst_cosine": {name: round(value, 5) for name, value in cosines.items()},
        "tokens_per_second": round(workload.tokens / medians[ours]),
        "ceiling_gflops": round(ceiling),
        "share_of_ceiling": round(work_gflop(workload, layers) / medians[ours] / ceiling, 3),
        "load": round(os.getloadavg()[0], 2),
    }


def run(
    folder: Path, device: torch.device, *, layers: int, rounds: int, seeds: int, clock: Clock
) -> list[dict[str, Any]]:
    """Measure every workload and print each result when it is there."""
    results = []
    for workload, contenders in plan(folder, device, seeds, clock):
        times = rounds * 4 if workload.tokens < 100 else rounds
        result = measure(workload, contenders, device=device, rounds=times, layers=layers, clock=clock)
        print(json.dumps(result), flush=True)
        results.append(result)
    return results


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The headline figures: medians over seeds, and the share of tokens and of time that shared prefixes save."""
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
    """The machine that the figures were measured on, and the clock."""
    machine = {
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "clock": clock,
        "torch": torch.__version__,
    }
    if device.type == "cuda":
        machine |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return machine


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--layers", type=int, help="layers of the 28 of 0.6B; default: 28 on a GPU, 7 on a CPU")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each contender")
    parser.add_argument("--seeds", type=int, default=5, help="draws of the mixed lengths")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    parser.add_argument("--processor-time", action="store_true", help="count the processor seconds of one CPU thread")
    return parser.parse_args()


def report(options: argparse.Namespace) -> dict[str, Any]:
    """Write the checkpoint, run every workload, and return all figures."""
    device = torch.device("cpu") if options.processor_time else choose_device("auto")
    layers = options.layers or (28 if device.type == "cuda" else 7)
    clock = time.process_time if options.processor_time else clock_of(device)
    with tempfile.TemporaryDirectory() as folder:
        qwen3_embedder(Path(folder), num_hidden_layers=layers)
        results = run(Path(folder), device, layers=layers, rounds=options.rounds, seeds=options.seeds, clock=clock)
    return {
        "layers": layers,
        "rounds": options.rounds,
        "batch_tokens": scale_of(device).batch_tokens,
        "machine": machine_of(device, "processor" if options.processor_time else "wall"),
        "summary": summary(results),
        "results": results,
    }


def main() -> None:
    options = arguments()
    if options.processor_time:
        torch.set_num_threads(1)
    figures = report(options)
    print(json.dumps(figures["summary"], indent=2))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
