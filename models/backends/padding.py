"""Texts of similar length as one padded batch: which go together, and how their states are pooled by length."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.interface import Pooling

# The longest of a group may have so many times the tokens of its shortest.
MAX_STRETCH = 1.15


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


def pool_padded(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """One state a text, [B, H], from right-padded states [B, L, H]; `mask` [B, L] is true for real tokens."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "lasttoken":
        return hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(1) - 1]
    if pooling == "max":
        return hidden.masked_fill(~mask[..., None], -torch.inf).amax(1)
    return hidden.masked_fill(~mask[..., None], 0).sum(1) / mask.sum(1, keepdim=True)
