"""Attention of one layer on a CPU, in blocks, beside torch's own kernel called once a text; shapes of Qwen3 0.6B.

    python -m benchmarks.attention

One thread and its processor time, so that other work on the machine matters less. Outputs are compared first.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.support.report import machine, show
from models.layers.cpu_attention import BlockAttention, KeysValues
from models.packing import pack

HEADS, GROUPS, WIDTH = 16, 8, 128
# Texts of one batch, each of so many tokens.
BATCHES = ((1, 16), (64, 16), (16, 64), (8, 128), (2, 512), (1, 2048))
ROUNDS = 15


def one_by_one(query: Tensor, memory: KeysValues, tokens: int) -> Tensor:
    """Torch's kernel, text by text."""
    parts = [
        F.scaled_dot_product_attention(*(each.transpose(0, 1)[None] for each in part), is_causal=True, enable_gqa=True)
        for part in zip(query.split(tokens), *(each.split(tokens) for each in memory), strict=True)
    ]
    return torch.cat([part[0].transpose(0, 1) for part in parts])


def row(texts: int, tokens: int) -> list[str]:
    """Both ways' medians over interleaved rounds."""
    random = torch.Generator().manual_seed(0)
    layout = pack([np.arange(tokens, dtype=np.int32) + number * tokens for number in range(texts)]).layout
    query, key, value = (
        torch.randn(texts * tokens, heads, WIDTH, generator=random).bfloat16() for heads in (HEADS, GROUPS, GROUPS)
    )
    blocks = BlockAttention(layout)
    ways: list[Callable[[], Tensor]] = [
        lambda: blocks(query, [(key, value)]),
        lambda: one_by_one(query, (key, value), tokens),
    ]
    difference = (ways[0]() - ways[1]()).abs().max().item()
    assert difference < 0.05, f"the two ways differ by: {difference}"
    taken: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for way, times in zip(ways, taken, strict=True):
            started = time.process_time()
            way()
            times.append(time.process_time() - started)
    ours, theirs = (statistics.median(times) * 1e3 for times in taken)
    return [f"{texts} x {tokens}", f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.2f}"]


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    table = [["texts x tokens", "in blocks, ms", "torch's kernel, ms", "ratio"], *(row(*each) for each in BATCHES)]
    show(f"Attention of one layer, bfloat16: {machine()}", table)


if __name__ == "__main__":
    main()
