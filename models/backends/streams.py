"""Streams: a batch on a CPU in micro-batches that run side by side, each on cores of its own. OpenVINO's word.

An operator that runs on all cores ends at a barrier. If another process has taken one of the cores, every thread waits
there until it is given back, and a forward pass has a thousand such operators. A micro-batch on
one core waits for nobody, and the streams that still have their cores take those of one that has lost them.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from models.cores import FreeCores

T = TypeVar("T")

# A product of fewer tokens takes more time a token.
MICRO_BATCH_TOKENS = 256
# Two for each stream, so that the one that is done first takes another.
MICRO_BATCHES_A_STREAM = 2
# The longest stream may take this many times the mean: a batch that cannot be divided so evenly runs on all cores.
MOST_UNEVEN = 1.08
# In a narrower network an operator takes less time than two Python threads need to take turns.
LEAST_WIDTH = 512


@dataclass(frozen=True, slots=True)
class Division:
    """Items of a batch by micro-batch, the longest first, and how many of these run at a time."""

    micro_batches: list[list[int]]
    streams: int


def streams_for(device: torch.device, width: int) -> "Streams | None":
    """Streams for a network of that hidden size; None where every batch had better run on all cores, or on a GPU."""
    cores = torch.get_num_threads()
    return Streams(cores) if device.type == "cpu" and cores > 1 and width >= LEAST_WIDTH else None


class Streams:
    """Threads beside the one that made them, which share its cores."""

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self._free = FreeCores(cores)
        self._pool = ThreadPoolExecutor(cores, "hearth-stream")

    def map(self, run: Callable[[int], T], division: Division) -> list[T]:
        """`run` of the number of each micro-batch, in order.

        Raises: the error of one that failed, after all have ended.
        """
        waiting = iter(range(len(division.micro_batches)))
        results: dict[int, T] = {}

        def work() -> None:
            # The first use in a thread sets its number to the one that any thread has set last. So first use, then set.
            torch.get_num_threads()
            torch.set_num_threads(self.cores // division.streams)
            for number in waiting:
                results[number] = run(number)

        futures = [self._pool.submit(work) for _ in range(division.streams)]
        errors = [error for future in futures if (error := future.exception()) is not None]
        # Threads that begin after this one use as many cores as it does.
        torch.set_num_threads(self.cores)
        if errors:
            raise errors[0]
        return [results[number] for number in range(len(division.micro_batches))]

    def use_free_cores(self) -> None:
        """Let this thread's next operators run on as many cores as other processes leave to this one."""
        torch.set_num_threads(self._free.count())


def divide(tokens: Sequence[int], cores: int) -> Division | None:
    """Divide the items of a batch into micro-batches of neighbours, for as many streams as can be even.

    Neighbours may share a prefix.

    Args:
        tokens: how many each item adds to the batch. An item that adds none is a copy of the one before it, and stays
            with it: so both get the same row.
        cores: the most streams.
    """
    total = sum(tokens)
    streams = min(cores, total // MICRO_BATCH_TOKENS)
    while streams > 1:
        parts = _neighbours(tokens, max(MICRO_BATCH_TOKENS, total // (streams * MICRO_BATCHES_A_STREAM)))
        sizes = [sum(tokens[number] for number in part) for part in parts]
        order = sorted(range(len(parts)), key=sizes.__getitem__, reverse=True)
        if _longest([sizes[place] for place in order], streams) <= MOST_UNEVEN * total / streams:
            return Division([parts[place] for place in order], streams)
        streams //= 2
    return None


def _neighbours(tokens: Sequence[int], size: int) -> list[list[int]]:
    """Micro-batches of about `size` tokens: an item begins a new one if more than half of it is beyond that size."""
    parts: list[list[int]] = [[]]
    room = size
    for number, count in enumerate(tokens):
        if parts[-1] and count > max(2 * room, 0):
            parts.append([])
            room = size
        parts[-1].append(number)
        room -= count
    return parts


def _longest(sizes: Sequence[int], streams: int) -> int:
    """The tokens of the stream that ends last, if each takes the next part when it has ended one."""
    ends = [0] * streams
    for size in sizes:
        ends[ends.index(min(ends))] += size
    return max(ends)
