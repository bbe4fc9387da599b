"""Final states -> what was asked of each item: a vector, some logits, or the score. float32 out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from models.checkpoint.folder import Checkpoint
from models.checkpoint.sentence_transformers_files import Module, activation_of, post_pooling_modules, size_of
from models.devices import send, to_device
from models.interface import Item, ModelError, Pooling, Readout
from models.packing import PrefixForest

Step = Callable[[Tensor], Tensor]


class PostPooling:
    """The parts behind the pooling, one after another; belongs to the thread that launches."""

    def __init__(self, path: Path, parts: Sequence[Module], device: torch.device) -> None:
        self._steps = [_step(path, part, device) for part in parts]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Vectors [n, W] of pooled float32 states [n, H]."""
        for step in self._steps:
            vectors = step(vectors)
        return vectors


def load_tail(checkpoint: Checkpoint, device: torch.device) -> PostPooling | None:
    """What a checkpoint has behind its pooling; None if that is nothing.

    Raises: ModelError: weights missing or of another shape.
    """
    parts = post_pooling_modules(checkpoint)
    return PostPooling(checkpoint.path, parts, device) if parts else None


def _step(path: Path, part: Module, device: torch.device) -> Step:
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


# Rows of the head multiplied at a time when every token's logit is asked.
CHUNK_ROWS = 16384
MOST_ROW_SETS, MOST_KEPT_ROWS = 16, 64

Groups = dict[Readout, list[int]]


class ReadsLogits(Protocol):
    """What turns final states, [n, H] float32, into numbers of tokens or labels."""

    def logits(self, states: Tensor, ids: tuple[int, ...]) -> Tensor:
        """Logits [n, len(ids)]; of every token or label if `ids` is empty."""
        ...

    def scores(self, states: Tensor) -> Tensor:
        """The one number that ranks, [n, 1]."""
        ...


class Head:
    """The rows of the token head that are asked, in float32. Belongs to the thread that launches."""

    def __init__(self, weight: Tensor, *, device: torch.device, no_yes: tuple[int, int] | None) -> None:
        """`weight` [V, H] may lie on the CPU, backed by its file: only asked rows are ever copied."""
        self._weight, self._device = weight, device
        self._rows: dict[tuple[int, ...], Tensor] = {}
        self._score = None
        if no_yes is not None:
            no, yes = self._asked(no_yes)
            self._score = yes - no

    @classmethod
    def of_classifier(cls, weight: Tensor, *, device: torch.device) -> "Head":
        """The head of a classifier of one label, [1, H]: the score is its logit."""
        head = cls(weight, device=device, no_yes=None)
        head._score = head._asked((0,))[0]
        return head

    def logits(self, states: Tensor, ids: tuple[int, ...]) -> Tensor:
        """Logits [n, len(ids)] of float32 states [n, H]; of every token if `ids` is empty."""
        if not ids:
            parts = self._weight.split(CHUNK_ROWS)
            return torch.cat([states @ part.to(self._device).float().T for part in parts], dim=1)
        # float64: [no, yes] and the score must agree to 1e-6, which float32 sums of logits near 50 do not.
        return torch.matmul(states.double(), self._asked(ids).T).float()

    def scores(self, states: Tensor) -> Tensor:
        """logit(yes) - logit(no), or a classifier's logit, [n, 1], by one vector."""
        if self._score is None:
            raise ModelError("this model has no 'yes' and 'no' to score with")
        return torch.matmul(states.double(), self._score[:, None]).float()

    def _asked(self, ids: tuple[int, ...]) -> Tensor:
        # Clients ask the same few ids again and again, and the matrix may lie in a file.
        if ids in self._rows:
            return self._rows[ids]
        places = to_device(np.array(ids, dtype=np.int64), self._weight.device)
        rows = send(self._weight[places], self._device).double()
        if len(ids) <= MOST_KEPT_ROWS:
            if len(self._rows) == MOST_ROW_SETS:
                self._rows.clear()
            self._rows[ids] = rows
        return rows


def by_readout(items: Sequence[Item]) -> Groups:
    """Item numbers by what is read, in order."""
    groups: Groups = {}
    for number, item in enumerate(items):
        groups.setdefault(item.readout, []).append(number)
    return groups


def read(states: Tensor, readout: Readout, head: ReadsLogits | None, tail: Step | None = None) -> Tensor:
    """Read float32 states [n, H] in one way: [n, W], [n, ids] or [n, 1]; NaN for a state that is not finite."""
    if readout.what == "vector":
        return states if tail is None else _unhidden(states, tail(states))
    if head is None:
        raise ModelError(f"this checkpoint has no token head to read: {readout.what}")
    return _unhidden(states, head.scores(states) if readout.what == "score" else head.logits(states, readout.ids))


def _unhidden(states: Tensor, found: Tensor) -> Tensor:
    # A Tanh or Sigmoid makes a number that looks right out of Inf.
    return found.masked_fill(~torch.isfinite(states).all(1, keepdim=True), torch.nan)


def pool_texts(states: Tensor, lengths: Sequence[int], pooling: Pooling) -> Tensor:
    """One state a text, [n, H] float32, from the final states of texts one after another, [T, H]."""
    parts = states.float().split(list(lengths))
    match pooling:
        case "cls":
            return torch.stack([part[0] for part in parts])
        case "lasttoken":
            return torch.stack([part[-1] for part in parts])
        case "max":
            return torch.stack([part.amax(0) for part in parts])
        case "mean":
            return torch.stack([part.mean(0) for part in parts])


def pool(states: Tensor, forest: PrefixForest, pooling: Pooling) -> Tensor:
    """Each end's state [R, H] from the final states of all tokens [T, H], by another rule than the last token."""
    paths = [forest.path(int(end)) for end in forest.ends]
    if pooling == "cls":
        return states[to_device(np.array([path[0] for path in paths]), states.device)]
    # One transfer for all, and states gathered path by path: a shared beginning lies in memory once at a time.
    every = to_device(np.concatenate(paths), states.device).split([len(path) for path in paths])
    return torch.stack([states[path].amax(0) if pooling == "max" else states[path].mean(0) for path in every])
