"""What a checkpoint does with a pooled vector: projections and norms, in float32."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from models.checkpoint import Checkpoint
from models.interface import ModelError
from models.modules import Part, activation_of, size_of, tail_parts

Step = Callable[[Tensor], Tensor]


class Tail:
    """The parts behind the pooling, one after another; belongs to the thread that launches."""

    def __init__(self, path: Path, parts: Sequence[Part], device: torch.device) -> None:
        self._steps = [_step(path, part, device) for part in parts]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Vectors [n, W] of pooled float32 states [n, H]."""
        for step in self._steps:
            vectors = step(vectors)
        return vectors


def load_tail(checkpoint: Checkpoint, device: torch.device) -> Tail | None:
    """What a checkpoint has behind its pooling; None if that is nothing.

    Raises: ModelError: weights missing or of another shape.
    """
    parts = tail_parts(checkpoint)
    return Tail(checkpoint.path, parts, device) if parts else None


def _step(path: Path, part: Part, device: torch.device) -> Step:
    if part.name == "Normalize":
        return F.normalize
    if part.name == "LayerNorm":
        return _loaded(nn.LayerNorm(size_of(part, "dimension")), path / part.path, device)
    sizes = size_of(part, "in_features"), size_of(part, "out_features")
    linear = nn.Linear(*sizes, bias=bool(part.config.get("bias", True)))
    activation = getattr(nn, activation_of(part))()
    return nn.Sequential(_loaded(linear, path / part.path, device), activation)


def _loaded(module: nn.Module, folder: Path, device: torch.device) -> nn.Module:
    file = folder / "model.safetensors"
    if not file.is_file():
        raise ModelError(f"{folder} has no weights that can be read; missing: {file.name}")
    # The library calls them linear.weight and norm.weight.
    tensors = {name.rpartition(".")[2]: tensor for name, tensor in load_file(file).items()}
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{file} does not fit its config.json: {str(error).splitlines()[-1].strip()}") from error
    return module.to(device)
