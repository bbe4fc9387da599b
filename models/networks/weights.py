"""Streams the tensors of a checkpoint from its safetensors files to the device, without a second copy in memory."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.checkpoint.folder import Checkpoint
from models.dequantization.reader import TensorReader
from models.interface import ModelError
from models.networks.surplus import say_surplus, surplus

BACKBONE_PREFIX = "model."
HEAD = "lm_head.weight"
TABLE = "embed_tokens.weight"
CLASSIFIER = "score.weight"


class Weights:
    """The tensors of one checkpoint, named without the prefix `model.`. Close it when the load is done.

    Files are mapped until close(): reading fills the page cache, and only copies take memory of the process. Nothing
    mapped may outlive a load: it would change with its file, and reading behind the end of a file ends the process.
    """

    def __init__(self, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._path = checkpoint.path
        self._reader = TensorReader(checkpoint)
        # Embedding checkpoints have no prefix, reranker checkpoints do.
        self._names = {stored.removeprefix(BACKBONE_PREFIX): stored for stored in self._reader.names}
        self._unused = set(self._names)

    def close(self) -> None:
        """Unmap the files. No tensor from mapped() may be used after this."""
        self._reader.close()

    def take(self, name: str, *shape: int) -> Tensor:
        """Copy one tensor of this shape to the device, in the dtype of the network.

        Raises: ModelError: the checkpoint lacks it, or it has another shape.
        """
        return self.merge([name], shape[:1], *shape[1:])

    def merge(self, names: Sequence[str], rows: Sequence[int], *rest: int) -> Tensor:
        """Copy several tensors to the device, stacked along the first axis: q, k and v become one matrix product.

        Args:
            names: the tensors, in order.
            rows: the first axis of each.
            rest: the other axes, which all share.
        Raises: ModelError: the checkpoint lacks one, or it has another shape.
        """
        merged = torch.empty((sum(rows), *rest), dtype=self.dtype, device=self.device)
        for name, part in zip(names, merged.split(tuple(rows)), strict=True):
            stored = self.mapped(name)
            if stored.shape != part.shape:
                expected, actual = tuple(part.shape), tuple(stored.shape)
                raise ModelError(f"{self._path}: by config.json {name} has the shape {expected}; it has {actual}")
            part.copy_(stored)
        return merged

    def mapped(self, name: str) -> Tensor:
        """One tensor on the CPU: as it is stored, mapped from the file; if it is quantised, as a plain copy.

        Raises: ModelError: the checkpoint lacks it.
        """
        if name not in self._names:
            raise ModelError(f"{self._path} lacks the tensor {name}")
        self._unused.discard(name)
        return self._reader.read(self._names[name], self.dtype)

    def copy(self, name: str) -> Tensor:
        """One tensor as it is stored, on the CPU, in memory of the process.

        Raises: ModelError: the checkpoint lacks it.
        """
        return self.mapped(name).clone()

    def has(self, name: str) -> bool:
        return name in self._names

    def check_all_used(self, network: str) -> None:
        """Refuse a checkpoint with tensors that `network` does not have: it is a checkpoint of another network.

        Raises: ModelError: names the tensors.
        """
        if names := surplus(self._unused):
            raise ModelError(f"{self._path} {say_surplus(network, names)}")
