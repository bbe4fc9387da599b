"""How the texts of a batch go through a library network: unpadded, padded to one length, or one by one."""

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
    """Groups of similar length, padded on the right and masked by length."""

    name: BatchLayout = "padded"

    def __init__(self, network: LibraryNetwork) -> None:
        self._network = network

    def groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Text numbers that go together."""
        return similar_lengths(lengths, max_tokens)

    def states(self, texts: Sequence[Ids]) -> Tensor:
        """Final states of all tokens, one text after another, [T, H]."""
        network = self._network
        ids, is_token = pad(texts)
        types, _ = pad([network.types(text) for text in texts])
        states = network(
            to_device(ids, network.device),
            to_device(types, network.device),
            attention_mask=to_device(is_token.astype(np.int64), network.device),
        )
        # By index, not by mask: indexing by a mask waits for the device to count what it selects.
        return states.flatten(0, 1)[to_device(np.flatnonzero(is_token), network.device)]


class OneByOne:
    """One text at a time: the reference for the other layouts."""

    name: BatchLayout = "alone"

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


def pad(rows: Sequence[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of one batch below each other, [B, L], zeros on the right; and which places hold a token, [B, L]."""
    # By length, never by id: the padding id of Qwen3 is its terminator.
    lengths = np.array([len(row) for row in rows])
    is_token = np.arange(lengths.max()) < lengths[:, None]
    matrix = np.zeros(is_token.shape, dtype=np.int64)
    matrix[is_token] = np.concatenate(rows)
    return matrix, is_token


def group_tokens(device: torch.device) -> int:
    """How many tokens go through a network together, padding included."""
    return GROUP_TOKENS.get(device.type, GROUP_TOKENS["cpu"])


# Registered for attention only: the library builds no mask for a name that has no function for masks.
ATTENTION_NAME = "hearth_packed"
# Arguments of the attention function that change no number here.
OPTIONS_WITHOUT_EFFECT = {
    *("cache_position", "deterministic", "dropout", "output_attentions", "output_hidden_states", "past_key_values"),
    *("position_embeddings", "position_ids", "return_dict", "use_cache"),
}


class NotUnpadded(Exception):
    """The network needs something that the unpadded layout does not have."""


class Unpadded:
    """Texts one after another, positions from the start in each, and attention inside each."""

    name: BatchLayout = "unpadded"

    def __init__(self, network: LibraryNetwork) -> None:
        """Replace the attention of the network, until restore().

        Raises: NotUnpadded: its attention cannot be replaced.
        """
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION_NAME, library_attention)
        self._network, self._own = network, network.attention
        self.windows: set[int | None] = set()
        network.attention = ATTENTION_NAME
        if network.attention != ATTENTION_NAME:
            what = f"{type(network.module).__name__} does not let its attention be replaced"
            raise NotUnpadded(what)

    def restore(self) -> None:
        """Give the network its own attention back."""
        self._network.attention = self._own

    def groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """Text numbers in order, as many in a group as have `max_tokens` together."""
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
        """Final states of all tokens, one text after another, [T, H]."""
        network = self._network
        packing = SequenceLayout([len(ids) for ids in texts], network.device)
        states = network(
            network.row(texts),
            network.row([network.types(ids) for ids in texts]),
            position_ids=network.row([network.positions(ids) for ids in texts]),
            packing=packing,
        )
        self.windows |= packing.windows
        return states[0]


def library_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: SequenceLayout | None = None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What the library calls for its attention: heads [1, N, T, D] -> [1, T, N, D].

    Raises: NotUnpadded: the network asks for more than it is given here.
    """
    unknown = [name for name, given in options.items() if given is not None and name not in OPTIONS_WITHOUT_EFFECT]
    if packing is None or attention_mask is not None or unknown:
        asks = ", ".join(unknown) or ("a mask of its own" if packing else "no packing: its layers do not pass it on")
        what = f"the attention of {type(module).__name__} has {asks}"
        raise NotUnpadded(what)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    rule = Rule(causal=bool(causal), window=sliding_window, scale=scaling, sinks=s_aux)
    return packing.attend(query, key, value, rule)[None], None
