"""Chooses the layout of a network: the first in which every token has the state that it has in its text alone."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from models.backends.huggingface.float32_rerun import float32_activations
from models.backends.huggingface.layouts import OneByOne, Padded, Unpadded
from models.backends.huggingface.network import LibraryNetwork
from models.interface import BatchLayout, Ids, ModelError, ModelInfo

# The largest distance between the two states of a token, relative to the norm of one: a cosine of 0.9999995.
MAX_DISTANCE = 1e-3
# With a single token after a longer text and a long text in the middle, any influence of other texts is visible.
LENGTHS = (5, 1, 40, 3)
TOKENS_BEYOND_WINDOW = 40
ATTENTION_LAYER_TYPES = {"full_attention", "sliding_attention"}
# The longest text that is computed to check a sliding window; longer windows are not checked.
MAX_WINDOW = {"cpu": 1024, "cuda": 16384}


class Runner(Protocol):
    """Runs one network in one layout."""

    name: BatchLayout

    def groups(self, lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
        """The numbers of the texts that go through the network together, at most `max_tokens` with padding."""
        ...

    def states(self, texts: Sequence[Ids]) -> Tensor:
        """Final states of all tokens of one group of texts, one text after another, [T, H]."""
        ...


class _PlainCalls(OneByOne):
    """The reference: the plain call of the library with ids only, and none of our own arguments."""

    def states(self, texts: Sequence[Ids]) -> Tensor:
        return torch.cat([self._state(ids) for ids in texts])

    def _state(self, ids: Ids) -> Tensor:
        network = self._network
        types = network.row([network.types(ids)])
        arguments = {"token_type_ids": types} if types.any() else {}
        return cast("Tensor", network.module(network.row([ids]), **arguments).last_hidden_state[0])


class LayoutCheck:
    """Compares the states of each layout with those that the network gives to single texts with its own attention."""

    def __init__(self, network: LibraryNetwork, info: ModelInfo) -> None:
        """Compute the reference, with the network as the library loaded it."""
        self._network = network
        self._window = _window(network, info.max_tokens)
        self.texts = _texts(network, info, self._window)
        self.reference = self._states(_PlainCalls(network))

    def choose(self, *, unpadded: bool = True) -> tuple[Runner, str]:
        """The fastest layout that gives the reference's states, and the reason for the choice.

        Args:
            unpadded: whether to try the unpadded layout.
        Raises: ModelError: no layout gives these states.
        """
        if not unpadded:
            return self._with_own_attention("asked for")
        runner, why_not = self._unpadded()
        if runner is not None:
            return runner, "every token has the state that it has alone"
        return self._with_own_attention(why_not)

    def _unpadded(self) -> tuple[Runner | None, str]:
        if unknown := set(getattr(self._network.config, "layer_types", None) or ()) - ATTENTION_LAYER_TYPES:
            return None, f"not run unpadded: some layer types are not attention: {', '.join(sorted(unknown))}"
        runner = None
        try:
            runner = Unpadded(self._network)
            distance = self._distance(runner)
            if distance <= MAX_DISTANCE and (self._window is None or runner.windows - {None}):
                return runner, ""
            why_not = f"token states differ from running each text alone by {distance:.2g} (limit {MAX_DISTANCE:g})"
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except Exception as error:  # hundreds of architectures fail in their own ways, but run padded
            why_not = str(error).splitlines()[0]
        if runner is not None:
            runner.restore()
        return None, f"not run unpadded: {why_not}"

    def _with_own_attention(self, why_not: str) -> tuple[Runner, str]:
        for layout in (Padded, OneByOne):
            runner: Runner = layout(self._network)
            if (distance := self._distance(runner)) <= MAX_DISTANCE:
                return runner, why_not
            why_not += f"; not run {runner.name}: token states differ by {distance:.2g} (limit {MAX_DISTANCE:g})"
        message = f"no layout gives the states that each text has alone, so this network is not supported: {why_not}"
        raise ModelError(message)

    def _distance(self, runner: Runner) -> float:
        # The bound is for tokens whose state is all zeros.
        norms = self.reference.norm(dim=1).clamp_min(1e-6)
        distance = ((self._states(runner) - self.reference).norm(dim=1) / norms).max().item()
        return distance if np.isfinite(distance) else np.inf

    def _states(self, runner: Runner) -> Tensor:
        dtype = next(self._network.module.parameters()).dtype
        # In bfloat16 rounding alone can route tokens to other experts, so that an exact layout would seem inexact.
        with nullcontext() if dtype == torch.float32 else float32_activations(self._network.module, dtype):
            return runner.states(self.texts).float()


def _window(network: LibraryNetwork, max_tokens: int) -> int | None:
    """The sliding window of config.json; None if there is none, or if no text can be longer."""
    config = network.config
    layers = getattr(config, "layer_types", None)
    slides = "sliding_attention" in layers if layers else getattr(config, "use_sliding_window", True)
    window = getattr(config, "sliding_window", None)
    return int(window) if slides and window and window < max_tokens else None


def _texts(network: LibraryNetwork, info: ModelInfo, window: int | None) -> list[Ids]:
    random = np.random.default_rng(0)
    lengths = [min(length, info.max_tokens) for length in LENGTHS]
    if window is not None and window <= MAX_WINDOW.get(network.device.type, 0):
        lengths.insert(2, min(window + TOKENS_BEYOND_WINDOW, info.max_tokens))
    ids = np.arange(info.table_rows, dtype=np.int32)
    ids = ids[ids != getattr(network.config, "pad_token_id", None)]
    texts = [random.choice(ids, length).astype(np.int32) for length in lengths]
    if info.separator is not None:
        for text in texts:
            text[len(text) // 2] = info.separator
    return texts
