"""Items of a batch that run together, as one prefix forest; a batch is one of these or is divided into several."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from models.interface import Ids, Item
from models.layers.cpu_attention import KeysValues
from models.layers.pooler import Groups, by_readout
from models.packing import PrefixForest, Span, pack
from models.prefix_trie import SharingCosts


@dataclass(slots=True)
class MicroBatch:
    """`numbers` of n items in their batch, their forest, and which of the n have which read-out.

    span_to_cache, new_cache_entry: as in PackedBatch.
    """

    numbers: Sequence[int]
    forest: PrefixForest
    groups: Groups
    span_to_cache: Span | None = None
    new_cache_entry: list[KeysValues] = field(default_factory=list)

    @staticmethod
    def of(items: Sequence[Item], numbers: Sequence[int], cached: Sequence[Ids], costs: SharingCosts) -> "MicroBatch":
        """Those items of a batch whose `numbers` are given; `cached` and `costs` as in pack()."""
        own = [items[number] for number in numbers]
        return MicroBatch(numbers, pack([item.ids for item in own], cached, costs), by_readout(own))
