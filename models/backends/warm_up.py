"""Runs batches of every size before a model serves: then kernels are loaded, and what fits into memory is known."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.interface import Backend, Item, ModelError, ModelInfo, NonFinite, OutOfMemory, Readout

log = logging.getLogger("hearth.models")

SMALLEST_TOKENS = 16
TEXT_TOKENS = 512


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What one batch took: `peak_bytes` of device memory beyond what the models hold, None where that is not known."""

    tokens: int
    seconds: float
    peak_bytes: int | None = None


def warm_up(backend: Backend, info: ModelInfo, max_tokens: int) -> list[BatchCost]:
    """Run a batch of each size, doubled from 16 tokens up to `max_tokens`, until one does not fit into memory.

    Call it in the thread that will launch batches. Each size runs twice, and the second time is measured.

    Returns: the sizes that fit, in ascending order.
    Raises: ModelError: not even the smallest fits. DeviceLost.
    """
    costs: list[BatchCost] = []
    for tokens in _sizes(max_tokens):
        items = _items(info, tokens)
        try:
            _run(backend, items)
            costs.append(_measured(backend, items, tokens))
        except OutOfMemory as error:
            if not costs:
                raise ModelError(f"{info.path} leaves no memory for a batch of {tokens} tokens: {error}") from error
            break
    return costs


def _sizes(max_tokens: int) -> list[int]:
    sizes = [max_tokens]
    while sizes[-1] > SMALLEST_TOKENS:
        sizes.append(max(1 << (sizes[-1] - 1).bit_length() - 1, 1))
    return sizes[::-1]


def _items(info: ModelInfo, tokens: int) -> list[Item]:
    """Texts of random ids, which have no beginning in common."""
    random = np.random.default_rng(tokens)
    readout = Readout("score" if info.kind == "reranker" else "vector")
    longest = min(TEXT_TOKENS, info.max_tokens)
    lengths = [min(longest, tokens - start) for start in range(0, tokens, longest)]
    return [Item(random.integers(0, info.table_rows, length, dtype=np.int32), readout) for length in lengths]


def _measured(backend: Backend, items: Sequence[Item], tokens: int) -> BatchCost:
    if not backend.info.device.startswith("cuda"):
        started = time.perf_counter()
        _run(backend, items)
        return BatchCost(tokens, time.perf_counter() - started)
    import torch

    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    _run(backend, items)
    return BatchCost(tokens, time.perf_counter() - started, torch.cuda.max_memory_allocated() - held)


def _run(backend: Backend, items: Sequence[Item]) -> None:
    try:
        backend.launch(items).rows()
    except NonFinite:
        # Of ids that mean nothing, that is no reason not to serve: the self-check has passed.
        log.debug("a batch of random ids gave NaN or Inf")
