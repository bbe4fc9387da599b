"""A network of the transformers library, as one call: token ids in, final states out. No batches, no pooling."""

import inspect
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.backends.huggingface.config import library_config
from models.checkpoint.folder import Checkpoint
from models.devices import to_device
from models.interface import Ids, ModelError
from models.memory import freeing_at_once

# Rotary positions whose frequencies follow the longest text of a forward pass.
ROPES_BY_LENGTH = ("dynamic", "longrope")


class LibraryNetwork:
    """One network without its head; belongs to the thread that launches."""

    def __init__(self, module: nn.Module, *, separator: int | None = None) -> None:
        """`separator`: the id behind which token type 1 begins, in networks that have types."""
        self.module, self._separator = module, separator
        self.config: Any = module.config
        takes_types = "token_type_ids" in inspect.signature(module.forward).parameters
        # GPT-2 takes them too, without a table of types: it would add the embedding of token 0.
        self._types = getattr(self.config, "type_vocab_size", 0) if takes_types else 0
        self._constant: dict[str, object] = {"use_cache": False} if hasattr(self.config, "use_cache") else {}
        self._padding = _padding_of_positions(module)
        self.alone_over = _length_of_plain_rope(self.config)

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(self.module.parameters()).device

    @property
    def attention(self) -> str:
        """The library's name of the attention function."""
        return str(self.config._attn_implementation)  # noqa: SLF001

    @attention.setter
    def attention(self, name: str) -> None:
        cast("Any", self.module).set_attn_implementation(name)

    def __call__(self, ids: Tensor, types: Tensor, **more: object) -> Tensor:
        """Final states [B, L, H] of ids and token types [B, L]; `more` reaches the library's forward()."""
        if self._types:
            more["token_type_ids"] = types
        return cast("Tensor", self.module(input_ids=ids, **self._constant, **more).last_hidden_state)

    def types(self, ids: Ids) -> NDArray[np.int64]:
        """Token types of one text: 1 behind the first separator, where the network knows more than one type."""
        types = np.zeros(len(ids), dtype=np.int64)
        if self._separator is not None and self._types > 1:
            ends = np.flatnonzero(ids == self._separator)
            types[ends[0] + 1 if len(ends) else len(ids) :] = 1
        return types

    def positions(self, ids: Ids) -> NDArray[np.int64]:
        """Positions of one text, as the network itself counts them."""
        if self._padding is None:
            return np.arange(len(ids))
        # transformers: create_position_ids_from_input_ids, which never counts the padding token.
        real = (ids != self._padding).astype(np.int64)
        return np.asarray(real.cumsum() * real + self._padding)

    def row(self, parts: Sequence[NDArray[Any]]) -> Tensor:
        """Numbers one after another as one row on the device, [1, T]."""
        return to_device(np.concatenate(parts).astype(np.int64)[None], self.device)


def _padding_of_positions(module: nn.Module) -> int | None:
    """The padding token's id, where positions begin behind it (RoBERTa, MPNet)."""
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            return part.padding_idx
    return None


def _length_of_plain_rope(config: Any) -> int | None:
    """How long a text may be to share a forward pass, where longer ones change the frequencies of their neighbours."""
    rope = getattr(config, "rope_parameters", None) or {}
    by_layer_type = [each for each in rope.values() if isinstance(each, dict)]
    for each in by_layer_type or [rope]:
        if each.get("rope_type") in ROPES_BY_LENGTH:
            return int(each.get("original_max_position_embeddings") or config.max_position_embeddings)
    return None


def load_network(checkpoint: Checkpoint, dtype: torch.dtype, *, classifier: bool = False) -> nn.Module:
    """The network on the CPU: a `classifier` with its head, any other without.

    Raises: ModelError: an entry of config.json or a tensor that the library's class does not know, or lacks.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # its load report: what matters of it is raised below
    where = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = library_config(checkpoint)
        kind = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModel
        with freeing_at_once():
            network, found = kind.from_pretrained(
                checkpoint.path,
                config=config,
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # to name them, below
                **where,
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelError(f"transformers cannot load {checkpoint.path}: {str(error).splitlines()[0]}") from error
    _check_found(checkpoint, network, found, reads_pooler=classifier)
    return cast("nn.Module", network.eval())


def _check_found(checkpoint: Checkpoint, network: nn.Module, found: Any, *, reads_pooler: bool) -> None:
    # What is missing would be random numbers; only a head reads a pooler.
    missing = [name for name in found["missing_keys"] if reads_pooler or "pooler." not in name]
    other_shapes = [str(key if isinstance(key, str) else key[0]) for key in found["mismatched_keys"]]
    if wrong := sorted([*missing, *other_shapes, *map(str, found.get("error_msgs") or [])]):
        name = type(network).__name__
        raise ModelError(f"{checkpoint.path} lacks weights of {name}, or they do not fit: {', '.join(wrong[:3])}")
