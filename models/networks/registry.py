"""The packed networks, one row per model_type. Imports no torch before a network is loaded."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from models.checkpoint.folder import Checkpoint
from models.interface import ModelError
from models.networks.entries import check_own_code
from models.networks.qwen3_config import QWEN3_ENTRIES, read_qwen3_config

if TYPE_CHECKING:
    import torch

    from models.networks.packed_network import PackedNetwork


@dataclass(frozen=True, slots=True)
class Architecture:
    """One packed network.

    read_config: reads config.json. Raises ModelError for an entry that the network would not compute exactly.
    entries: names of the entries that it reads, or knows to say nothing.
    module, name: the module and the name of the network's class, which implements packed_network.PackedNetwork.
    fused_module: has a function fuse(network, device, dtype), which puts the network on the kernels of models.cuda;
        None if there are none for it.
    """

    read_config: Callable[[Mapping[str, Any]], object]
    entries: frozenset[str]
    module: str
    name: str
    fused_module: str | None = None

    def network(self) -> "Callable[..., PackedNetwork]":
        """The network's class; imports torch."""
        return cast("Callable[..., PackedNetwork]", getattr(importlib.import_module(self.module), self.name))

    def fuse(
        self, network: "PackedNetwork", device: "torch.device", dtype: "torch.dtype"
    ) -> "tuple[PackedNetwork, str]":
        """The network on the kernels, or itself where they do not run; and why."""
        if self.fused_module is None:
            return network, "there are no kernels for this network"
        fused: tuple[PackedNetwork, str] = importlib.import_module(self.fused_module).fuse(network, device, dtype)
        return fused


ARCHITECTURES: dict[str, Architecture] = {
    "qwen3": Architecture(
        read_qwen3_config, QWEN3_ENTRIES, "models.networks.qwen3", "Qwen3", "models.networks.fused.qwen3_fused"
    ),
}


def find_architecture(checkpoint: Checkpoint) -> Architecture:
    """The packed network for a checkpoint's model_type.

    Raises: ModelError: no packed network has this model_type, or the folder has code of its own for it.
    """
    if (architecture := ARCHITECTURES.get(checkpoint.model_type)) is None:
        supported = ", ".join(ARCHITECTURES)
        raise ModelError(
            f"no packed network supports the model_type {checkpoint.model_type!r} (supported: {supported})"
        )
    check_own_code(checkpoint)
    return architecture


def why_not_packed(checkpoint: Checkpoint) -> str | None:
    """The reason why no packed network can run this checkpoint; None if one can."""
    try:
        find_architecture(checkpoint).read_config(checkpoint.config)
    except ModelError as error:
        return str(error)
    return None
