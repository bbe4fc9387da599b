"""Turns final hidden states into the rows that items ask for: a vector, logits or a score, in float32."""

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
from models.packing import PrefixForest, Span

# Head rows that are multiplied at a time when the logits of all tokens are requested.
CHUNK_ROWS = 16384
# Bounds of the cache of head rows: a set is the ids of one readout.
MAX_CACHED_ROW_SETS, MAX_CACHED_ROWS = 16, 64

Groups = dict[Readout, list[int]]
Step = Callable[[Tensor], Tensor]


class Head(Protocol):
    """Multiplies final states by the output weights of a model."""

    def logits(self, states: Tensor, ids: tuple[int, ...]) -> Tensor:
        """Logits [n, len(ids)] of tokens or labels from float32 states [n, H]; all of them if `ids` is empty."""
        ...

    def scores(self, states: Tensor) -> Tensor:
        """The relevance logit, [n, 1], from float32 states [n, H]."""
        ...


def by_readout(items: Sequence[Item]) -> Groups:
    """Item numbers grouped by readout, in item order."""
    groups: Groups = {}
    for number, item in enumerate(items):
        groups.setdefault(item.readout, []).append(number)
    return groups


def read(states: Tensor, readout: Readout, head: Head | None, post_pooling: Step | None = None) -> Tensor:
    """Compute one readout of float32 states [n, H].

    Returns: float32 [n, W], [n, ids] or [n, 1]; a row is NaN if its state is not finite.
    Raises: ModelError: the readout needs a head, and there is none.
    """
    if readout.what == "vector":
        return states if post_pooling is None else _nan_where_not_finite(states, post_pooling(states))
    if head is None:
        raise ModelError(f"this checkpoint has no head, so it cannot give a {readout.what!r} readout")
    rows = head.scores(states) if readout.what == "score" else head.logits(states, readout.ids)
    return _nan_where_not_finite(states, rows)


def _nan_where_not_finite(states: Tensor, rows: Tensor) -> Tensor:
    # A Tanh or Sigmoid turns Inf into a number that looks valid.
    return rows.masked_fill(~torch.isfinite(states).all(1, keepdim=True), torch.nan)


def pool_texts(states: Tensor, lengths: Sequence[int], pooling: Pooling, *, cu_seqlens: Tensor | None = None) -> Tensor:
    """One float32 state per text, [n, H], from the final states of the texts one after another, [T, H].

    `cu_seqlens`, int32 [n + 1], are where the texts start and end, if the caller has them on the device of the states.
    """
    if states.is_cuda:
        if cu_seqlens is None:
            cu_seqlens = to_device(np.cumsum([0, *lengths], dtype=np.int32), states.device)
        return _pool_at_once(states, cu_seqlens, pooling)
    texts = states.float().split(list(lengths))
    match pooling:
        case "cls":
            return torch.stack([text[0] for text in texts])
        case "lasttoken":
            return torch.stack([text[-1] for text in texts])
        case "max":
            return torch.stack([text.amax(0) for text in texts])
        case "mean":
            return torch.stack([text.mean(0) for text in texts])


def _pool_at_once(states: Tensor, cu_seqlens: Tensor, pooling: Pooling) -> Tensor:
    """pool_texts() by the same few kernels for any number of texts, whose sums may round differently."""
    match pooling:
        case "cls":
            return states[cu_seqlens[:-1]].float()
        case "lasttoken":
            return states[cu_seqlens[1:] - 1].float()
        case "max" | "mean":
            # `unsafe` leaves out checks of the offsets that wait for the device.
            return torch.segment_reduce(states.float(), pooling, offsets=cu_seqlens, axis=0, unsafe=True)


def pool_forest(states: Tensor, forest: PrefixForest, pooling: Pooling) -> Tensor:
    """One state per end of the forest, [E, H], from the final states of all its tokens, [T, H].

    Not for "lasttoken": there the network computes the final states of the ends alone.
    """
    paths = [forest.path(int(end)) for end in forest.ends]
    if pooling == "cls":
        return states[to_device(np.array([path[0] for path in paths]), states.device)]
    # One transfer for all paths. States are gathered path by path, so that a shared prefix is copied once at a time.
    indexes = to_device(np.concatenate(paths), states.device).split([len(path) for path in paths])
    return torch.stack([states[path].amax(0) if pooling == "max" else states[path].mean(0) for path in indexes])


def pool_chunk(states: Tensor, span: Span, pooling: Pooling, pooled: Tensor | None) -> Tensor:
    """One state of a text, [1, H], from the final states of one chunk and what the chunks before it gave.

    `states`, float32, are those of the tokens in `span`, or of the last of them for "lasttoken"; padding may follow.
    """
    tokens = 1 if pooling == "lasttoken" else span[1] - span[0]
    state = pool_texts(states[:tokens], [tokens], pooling)
    if pooled is None or pooling == "lasttoken":
        return state
    match pooling:
        case "cls":
            return pooled
        case "max":
            return torch.maximum(pooled, state)
        case "mean":
            return pooled + (state - pooled) * (tokens / span[1])


class LanguageModelHead:
    """The requested rows of a head's matrix. Belongs to the thread that launches."""

    def __init__(self, weight: Tensor, *, device: torch.device, no_yes: tuple[int, int] | None) -> None:
        """Take the matrix.

        Args:
            weight: [V, H], any float dtype. It may be on the CPU: requested rows are copied to the device, and
                the whole matrix when the logits of all tokens are first requested.
            device: where states are.
            no_yes: token ids of "no" and "yes", for scores().
        """
        self._weight, self._device = weight, device
        self._cached_rows: dict[tuple[int, ...], Tensor] = {}
        self._score_row: Tensor | None = None
        if no_yes is not None:
            no, yes = self._rows(no_yes)
            self._score_row = yes - no

    @classmethod
    def of_classifier(cls, weight: Tensor, *, device: torch.device) -> "LanguageModelHead":
        """The head of a classifier with one label, [1, H]: the score is the logit of that label."""
        head = cls(weight, device=device, no_yes=None)
        head._score_row = head._rows((0,))[0]
        return head

    def logits(self, states: Tensor, ids: tuple[int, ...]) -> Tensor:
        """Logits [n, len(ids)] of float32 states [n, H]; those of all tokens if `ids` is empty."""
        if not ids:
            # It stays on the device: it may be a gigabyte, and its copy would precede every batch.
            self._weight = send(self._weight, self._device)
            return torch.cat([states @ chunk.float().T for chunk in self._weight.split(CHUNK_ROWS)], dim=1)
        # float64: [no, yes] and the score must agree to 1e-6, which float32 sums of logits near 50 do not.
        return torch.matmul(states.double(), self._rows(ids).T).float()

    def scores(self, states: Tensor) -> Tensor:
        """logit(yes) - logit(no), or the logit of a classifier, [n, 1], as one product.

        Raises: ModelError: the head has neither.
        """
        if self._score_row is None:
            raise ModelError("this model cannot give scores: its ids of 'no' and 'yes' are not known")
        return torch.matmul(states.double(), self._score_row[:, None]).float()

    def _rows(self, ids: tuple[int, ...]) -> Tensor:
        # Clients request the same few ids again and again, and the matrix may be on another device.
        if ids in self._cached_rows:
            return self._cached_rows[ids]
        indexes = to_device(np.array(ids, dtype=np.int64), self._weight.device)
        rows = send(self._weight[indexes], self._device).double()
        if len(ids) <= MAX_CACHED_ROWS:
            if len(self._cached_rows) == MAX_CACHED_ROW_SETS:
                self._cached_rows.clear()
            self._cached_rows[ids] = rows
        return rows


class PostPooling:
    """The modules after the pooling, in order. Belongs to the thread that launches."""

    def __init__(self, path: Path, modules: Sequence[Module], device: torch.device) -> None:
        self._steps = [_step(path, module, device) for module in modules]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Vectors [n, W] of pooled float32 states [n, H]."""
        for step in self._steps:
            vectors = step(vectors)
        return vectors


def load_post_pooling(checkpoint: Checkpoint, device: torch.device) -> PostPooling | None:
    """Load the post-pooling modules of a checkpoint; None if it has none.

    Raises: ModelError: weights are missing or have another shape.
    """
    modules = post_pooling_modules(checkpoint)
    return PostPooling(checkpoint.path, modules, device) if modules else None


def _step(path: Path, module: Module, device: torch.device) -> Step:
    if module.name == "Normalize":
        return F.normalize
    if module.name == "LayerNorm":
        return _load_weights(nn.LayerNorm(size_of(module, "dimension")), path / module.path, device)
    sizes = size_of(module, "in_features"), size_of(module, "out_features")
    linear = nn.Linear(*sizes, bias=bool(module.config.get("bias", True)))
    activation = getattr(nn, activation_of(module))()
    return nn.Sequential(_load_weights(linear, path / module.path, device), activation)


def _load_weights(layer: nn.Module, folder: Path, device: torch.device) -> nn.Module:
    file = folder / "model.safetensors"
    if not file.is_file():
        raise ModelError(f"{folder} has no {file.name}; download the complete checkpoint")
    # sentence-transformers stores them as linear.weight and norm.weight.
    tensors = {name.rpartition(".")[2]: tensor for name, tensor in load_file(file).items()}
    try:
        layer.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{file} does not match its config.json: {str(error).splitlines()[-1].strip()}") from error
    return layer.to(device)
