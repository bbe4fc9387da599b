"""Tensors of a checkpoint, streamed from its safetensors files into place: no second copy of a weight in memory."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor

from models.checkpoint.folder import Checkpoint
from models.interface import ModelError

BACKBONE_PREFIX = "model."
HEAD = "lm_head.weight"
TABLE = "embed_tokens.weight"
CLASSIFIER = "score.weight"


class Weights:
    """The tensors of one checkpoint by name without `model.`; belongs to the load, close() it after.

    Files are mapped: what is read is page cache, and only what is copied out is the process's own memory.
    """

    def __init__(self, checkpoint: Checkpoint, *, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self._path = checkpoint.path
        self._open = ExitStack()
        self._files: dict[str, tuple[Any, str]] = {}
        for file in checkpoint.weight_files:
            tensors = self._open.enter_context(safe_open(file, framework="pt"))
            # Embedding checkpoints carry no prefix, reranker checkpoints do.
            self._files |= {stored.removeprefix(BACKBONE_PREFIX): (tensors, stored) for stored in tensors.keys()}  # noqa: SIM118
        self._unused = set(self._files)

    def close(self) -> None:
        """Unmap the files; mapped() tensors must be gone."""
        self._open.close()

    def take(self, name: str, *shape: int) -> Tensor:
        """One tensor on the device, in the dtype that the network runs in."""
        return self.merge([name], shape[:1], *shape[1:])

    def merge(self, names: Sequence[str], rows: Sequence[int], *rest: int) -> Tensor:
        """Tensors one below the other as one: q, k and v of a layer become one matrix product."""
        merged = torch.empty((sum(rows), *rest), dtype=self.dtype, device=self.device)
        for name, part in zip(names, merged.split(tuple(rows)), strict=True):
            stored = self.mapped(name)
            if stored.shape != part.shape:
                wanted = tuple(part.shape)
                raise ModelError(f"{self._path}: config.json wants {wanted} for {name}, it is: {tuple(stored.shape)}")
            part.copy_(stored)
        return merged

    def mapped(self, name: str) -> Tensor:
        """One tensor as it is stored, on the CPU, backed by the file."""
        if name not in self._files:
            raise ModelError(f"{self._path} lacks this tensor: {name}")
        self._unused.discard(name)
        tensors, stored = self._files[name]
        return cast("Tensor", tensors.get_tensor(stored))

    def has(self, name: str) -> bool:
        """Whether the checkpoint stores this tensor."""
        return name in self._files

    def check_all_used(self) -> None:
        """Refuse a checkpoint that holds more than the network has, for it is then another network.

        Raises: ModelError: names the tensors.
        """
        if unused := sorted(self._unused):
            more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
            raise ModelError(f"{self._path} holds tensors that its network has not: {', '.join(unused[:3])}{more}")
