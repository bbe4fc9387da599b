"""Texts side by side, padded to one length, or one at a time: what every network of the library can do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backends.library import LibraryNetwork
from models.devices import to_device
from models.interface import Ids, Layout

# The longest of a group may have so many times the tokens of its shortest.
MAX_STRETCH = 1.15


class Padded:
    """Groups of similar length, padded on the right and masked by length."""

    name: Layout = "padded"

    def __init__(self, network: LibraryNetwork) -> None:
        self._network = network

    def groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Text numbers that go together."""
        return similar_lengths(lengths, max_tokens)

    def states(self, texts: Sequence[Ids]) -> Tensor:
        """Final states of all tokens, one text after another, [T, H]."""
        network = self._network
        # By length, never by id: the padding id of Qwen3 is its terminator.
        lengths = np.array([len(each) for each in texts])
        real = np.arange(lengths.max()) < lengths[:, None]
        ids = to_device(_matrix(texts, real), network.device)
        types = to_device(_matrix([network.types(each) for each in texts], real), network.device)
        states = network(ids, types, attention_mask=to_device(real.astype(np.int64), network.device))
        # Places, and not the mask: how many it selects would be asked of the device.
        return states.flatten(0, 1)[to_device(np.flatnonzero(real), network.device)]


class Alone:
    """One text at a time: what the others are compared with."""

    name: Layout = "alone"

    def __init__(self, network: LibraryNetwork) -> None:
        self._network = network

    def groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Every text by itself."""
        del max_tokens
        return [[number] for number in range(len(lengths))]

    def states(self, texts: Sequence[Ids]) -> Tensor:
        """Final states of all tokens, one text after another, [T, H]."""
        network = self._network
        return torch.cat([network(network.row([ids]), network.row([network.types(ids)]))[0] for ids in texts])


def similar_lengths(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Text numbers in groups that waste little on padding and stay under `max_tokens`, padding included."""
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[number]
        fits = groups and length <= MAX_STRETCH * lengths[groups[-1][0]]
        if fits and length * (len(groups[-1]) + 1) <= max_tokens:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _matrix(rows: Sequence[NDArray[Any]], real: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rows one below the other, [B, L]; zeros where nothing is `real`."""
    matrix = np.zeros(real.shape, dtype=np.int64)
    matrix[real] = np.concatenate(rows)
    return matrix
