"""Which checkpoints a packed network of ours can run: one row per model_type. No torch before a network is loaded."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from models.checkpoint.folder import Checkpoint
from models.interface import ModelError
from models.networks.qwen3_config import read_qwen3_config

if TYPE_CHECKING:
    from models.networks.packed_network import PackedNetwork


@dataclass(frozen=True, slots=True)
class Architecture:
    """One packed network.

    read_config: reads config.json; raises ModelError for an entry that the network would not compute exactly.
    module, name: where the network's class is; it implements packed_network.PackedNetwork.
    """

    read_config: Callable[[Mapping[str, Any]], object]
    module: str
    name: str

    def network(self) -> "Callable[..., PackedNetwork]":
        """The network's class; imports torch."""
        return cast("Callable[..., PackedNetwork]", getattr(importlib.import_module(self.module), self.name))


ARCHITECTURES: dict[str, Architecture] = {
    "qwen3": Architecture(read_qwen3_config, "models.networks.qwen3", "Qwen3"),
}


def find_architecture(checkpoint: Checkpoint) -> Architecture:
    """The packed network for a checkpoint's model_type.

    Raises: ModelError: there is none.
    """
    if (architecture := ARCHITECTURES.get(checkpoint.model_type)) is None:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"no packed network supports the model_type {checkpoint.model_type!r} (supported: {known})")
    return architecture


def why_not_packed(checkpoint: Checkpoint) -> str | None:
    """Why no packed network runs this checkpoint, or None if one does."""
    try:
        find_architecture(checkpoint).read_config(checkpoint.config)
    except ModelError as error:
        return str(error)
    return None
