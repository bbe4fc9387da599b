"""The library's network over texts laid out one after another: no padding, and no mask."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from models.backends.library import LibraryNetwork
from models.backends.sequences import Packing, Rule
from models.interface import Ids, Layout

# Registered for attention only: the library builds no mask for a name that has no function for masks.
NAME = "hearth_packed"
# What networks hand to their attention function and what changes no number here.
HARMLESS = {
    *("cache_position", "deterministic", "dropout", "output_attentions", "output_hidden_states", "past_key_values"),
    *("position_embeddings", "position_ids", "return_dict", "use_cache"),
}


class NotUnpadded(Exception):
    """The network needs something that the unpadded way does not have."""


class Unpadded:
    """Texts one after another, positions from the start in each, and attention inside each."""

    name: Layout = "unpadded"

    def __init__(self, network: LibraryNetwork) -> None:
        """From now on the network runs in no other way, until restore().

        Raises: NotUnpadded: its attention cannot be exchanged.
        """
        from transformers import AttentionInterface

        AttentionInterface.register(NAME, attend)
        self._network, self._own = network, network.attention
        self.windows: set[int | None] = set()
        network.attention = NAME
        if network.attention != NAME:
            what = f"{type(network.module).__name__} does not let its attention be exchanged"
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
        packing = Packing([len(ids) for ids in texts], network.device)
        states = network(
            network.row(texts),
            network.row([network.types(ids) for ids in texts]),
            position_ids=network.row([network.positions(ids) for ids in texts]),
            packing=packing,
        )
        self.windows |= packing.windows
        return states[0]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packing: Packing | None = None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """What the library calls for its attention: heads [1, N, T, D] -> [1, T, N, D].

    Raises: NotUnpadded: the network asks for more than it is given here.
    """
    unknown = [name for name, given in options.items() if given is not None and name not in HARMLESS]
    if packing is None or attention_mask is not None or unknown:
        asks = ", ".join(unknown) or ("a mask of its own" if packing else "no packing: its layers do not pass it on")
        what = f"the attention of {type(module).__name__} has {asks}"
        raise NotUnpadded(what)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    rule = Rule(causal=bool(causal), window=sliding_window, scale=scaling, sinks=s_aux)
    return packing.attend(query, key, value, rule)[None], None
