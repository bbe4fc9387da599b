"""The layouts of a batch of texts for a library network: unpadded, padded to one length, or one by one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.backends.huggingface.network import LibraryNetwork
from models.devices import to_device
from models.interface import BatchLayout, Ids
from models.layers.sequence_attention import Rule, SequenceLayout

# The longest text of a padded group has at most this many times the tokens of the shortest.
MAX_STRETCH = 1.15
# Larger batches are slower on a CPU, whose caches hold less: 64 padded texts took 3.3 times as long at 32 as at 4.
GROUP_TOKENS = {"cpu": 512, "cuda": 16384}


class Padded:
    """Runs groups of texts of similar length, padded on the right and masked by length."""

    name: BatchLayout = "padded"

    def __init__(self, network: LibraryNetwork) -> None:
        self._network = network

    def groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        return similar_lengths(lengths, max_tokens)

    def states(self, texts: Sequence[Ids]) -> Tensor:
        network = self._network
        ids, is_token = pad(texts)
        types, _ = pad([network.types(text) for text in texts])
        # The library asks a mask for torch's attention whether it masks anything, for which the host waits for a GPU.
        needs_mask = network.device.type == "cpu" or network.attention != "sdpa" or not is_token.all()
        states = network(
            to_device(ids, network.device),
            to_device(types, network.device),
            attention_mask=to_device(is_token.astype(np.int64), network.device) if needs_mask else None,
        )
        # By index, because indexing by a mask waits for the device to count the selected tokens.
        return states.flatten(0, 1)[to_device(np.flatnonzero(is_token), network.device)]


class OneByOne:
    """Runs one text at a time."""

    name: BatchLayout = "alone"

    def __init__(self, network: LibraryNetwork) -> None:
        self._network = network

    def groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        del max_tokens
        return [[number] for number in range(len(lengths))]

    def states(self, texts: Sequence[Ids]) -> Tensor:
        network = self._network
        return torch.cat([network(network.row([ids]), network.row([network.types(ids)]))[0] for ids in texts])


def similar_lengths(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Group text numbers by similar length: at most `max_tokens` per group, padding included, or one text."""
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[number]
        fits = groups and length <= MAX_STRETCH * lengths[groups[-1][0]]
        if fits and length * (len(groups[-1]) + 1) <= max_tokens:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def pad(rows: Sequence[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The rows as a matrix [B, L] with zeros on the right, and which of its elements are tokens, [B, L]."""
    # By length, never by id: the padding id of Qwen3 is also its terminator.
    lengths = np.array([len(row) for row in rows])
    is_token = np.arange(lengths.max()) < lengths[:, None]
    matrix = np.zeros(is_token.shape, dtype=np.int64)
    matrix[is_token] = np.concatenate(rows)
    return matrix, is_token


def group_tokens(device: torch.device) -> int:
    """The number of tokens, padding included, that should go through a network together on this device."""
    return GROUP_TOKENS.get(device.type, GROUP_TOKENS["cpu"])


# Registered as an attention function only: the library builds no mask for a name without a mask function.
ATTENTION_NAME = "hearth_packed"
# Arguments of the attention function that change no number in this layout.
OPTIONS_WITHOUT_EFFECT = {
    *("cache_position", "deterministic", "dropout", "output_attentions", "output_hidden_states", "past_key_values"),
    *("position_embeddings", "position_ids", "return_dict", "use_cache"),
}


class UnpaddedNotSupported(Exception):
    """The network needs something that the unpadded layout does not support."""


class Unpadded:
    """Runs texts one after another as one sequence, with positions that restart and attention inside each text."""

    name: BatchLayout = "unpadded"

    def __init__(self, network: LibraryNetwork) -> None:
        """Replace the attention of the network until restore().

        Raises: UnpaddedNotSupported: its attention cannot be replaced.
        """
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION_NAME, library_attention)
        self._network, self._own_attention = network, network.attention
        self.windows: set[int | None] = set()
        network.attention = ATTENTION_NAME
        if network.attention != ATTENTION_NAME:
            message = f"{type(network.module).__name__} does not let its attention be replaced"
            raise UnpaddedNotSupported(message)

    def restore(self) -> None:
        """Give the network its own attention again."""
        self._network.attention = self._own_attention

    def groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Fill each group in order; a group has at most `max_tokens`, or one text."""
        groups: list[list[int]] = []
        room = 0
        for number, length in enumerate(lengths):
            if not groups or length > room:
                groups.append([])
                room = max_tokens
            groups[-1].append(number)
            room -= length
        return groups

    def states(self, texts: Sequence[Ids]) -> Tensor:
        network = self._network
        layout = SequenceLayout([len(ids) for ids in texts], network.device)
        states = network(
            network.row(texts),
            network.row([network.types(ids) for ids in texts]),
            position_ids=network.row([network.positions(ids) for ids in texts]),
            layout=layout,
        )
        self.windows |= layout.windows
        return states[0]


def library_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: SequenceLayout | None = None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The attention function that the library calls: [1, N, T, D] -> [1, T, N, D].

    Raises: UnpaddedNotSupported: the network does not pass the layout on, or uses a mask or options of its own.
    """
    unknown = [name for name, value in options.items() if value is not None and name not in OPTIONS_WITHOUT_EFFECT]
    if layout is None or attention_mask is not None or unknown:
        message = f"the attention of {type(module).__name__} {_difference(unknown, layout)}"
        raise UnpaddedNotSupported(message)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    rule = Rule(causal=bool(causal), window=sliding_window, scale=scaling, sinks=s_aux)
    return layout.attend(query, key, value, rule)[None], None


def _difference(unknown: Sequence[str], layout: SequenceLayout | None) -> str:
    if unknown:
        return f"uses options that are not supported: {', '.join(unknown)}"
    return "uses a mask of its own" if layout else "does not receive the layout, because its layers do not pass it on"
