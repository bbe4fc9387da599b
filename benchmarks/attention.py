"""Attention of one layer on a CPU: our blocks against torch's kernel, called once per text; shapes of Qwen3 0.6B.

    python -m benchmarks.attention

It counts the processor time of one thread, so that other work on the machine matters less. Outputs are compared first.
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
# Texts in one batch, and the tokens of each.
BATCHES = ((1, 16), (64, 16), (16, 64), (8, 128), (2, 512), (1, 2048))
ROUNDS = 15


def one_by_one(query: Tensor, memory: KeysValues, tokens: int) -> Tensor:
    """Torch's kernel, text by text."""
    texts = zip(query.split(tokens), *(states.split(tokens) for states in memory), strict=True)
    attended = [
        F.scaled_dot_product_attention(*(part.transpose(0, 1)[None] for part in text), is_causal=True, enable_gqa=True)
        for text in texts
    ]
    return torch.cat([part[0].transpose(0, 1) for part in attended])


def row(texts: int, tokens: int) -> list[str]:
    """The medians of both implementations over interleaved rounds."""
    random = torch.Generator().manual_seed(0)
    layout = pack([np.arange(tokens, dtype=np.int32) + number * tokens for number in range(texts)]).layout
    query, key, value = (
        torch.randn(texts * tokens, heads, WIDTH, generator=random).bfloat16() for heads in (HEADS, GROUPS, GROUPS)
    )
    blocks = BlockAttention(layout)
    implementations: list[Callable[[], Tensor]] = [
        lambda: blocks(query, [(key, value)]),
        lambda: one_by_one(query, (key, value), tokens),
    ]
    difference = (implementations[0]() - implementations[1]()).abs().max().item()
    assert difference < 0.05, f"the two implementations differ by {difference}"
    seconds: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for attend, times in zip(implementations, seconds, strict=True):
            started = time.process_time()
            attend()
            times.append(time.process_time() - started)
    block_ms, kernel_ms = (statistics.median(times) * 1e3 for times in seconds)
    return [f"{texts} x {tokens}", f"{block_ms:.2f}", f"{kernel_ms:.2f}", f"{kernel_ms / block_ms:.2f}"]


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    table = [["texts x tokens", "in blocks, ms", "torch's kernel, ms", "ratio"], *(row(*batch) for batch in BATCHES)]
    show(f"Attention of one layer, bfloat16: {machine()}", table)


if __name__ == "__main__":
    main()
