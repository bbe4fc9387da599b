"""Texts side by side, padded to one length, or one at a time: what every network of the library can do."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.backends.library import LibraryNetwork
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
        ids = _matrix([network.row([each])[0] for each in texts])
        types = _matrix([network.row([network.types(each)])[0] for each in texts])
        # By length, never by id: the padding id of Qwen3 is its terminator.
        lengths = torch.tensor([len(each) for each in texts], device=network.device)
        mask = torch.arange(ids.shape[1], device=network.device) < lengths[:, None]
        return network(ids, types, attention_mask=mask.long())[mask]


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


def _matrix(rows: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
