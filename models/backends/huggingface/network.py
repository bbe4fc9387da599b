"""A network of the transformers library as one call from token ids to final states. No batches, no pooling."""

import inspect
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.backends.huggingface.config import library_config
from models.checkpoint.folder import Checkpoint
from models.dequantization.reader import TensorReader
from models.devices import to_device
from models.interface import Ids, ModelError
from models.memory import freeing_at_once
from models.networks.surplus import say_surplus, surplus

# Types of rotary positions whose frequencies depend on the longest text of a forward pass.
LENGTH_DEPENDENT_ROPES = ("dynamic", "longrope")


class LibraryNetwork:
    """One network without its head. Belongs to the thread that launches.

    max_shared_tokens: a longer text must run alone, because it changes the frequencies of rotary positions of all texts
        in its forward pass; None if there is no such limit.
    """

    def __init__(self, module: nn.Module, *, separator: int | None = None) -> None:
        """Wrap a network; `separator` is the id after which token type 1 starts, if the network has token types."""
        self.module, self._separator = module, separator
        self.config: Any = module.config
        takes_types = "token_type_ids" in inspect.signature(module.forward).parameters
        # GPT-2 also accepts them, but has no table of types: it would add the embedding of token 0.
        self._types = getattr(self.config, "type_vocab_size", 0) if takes_types else 0
        self._constant: dict[str, object] = {"use_cache": False} if hasattr(self.config, "use_cache") else {}
        self._padding_id = _padding_id_of_positions(module)
        self.max_shared_tokens = _max_shared_tokens(self.config)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def attention(self) -> str:
        """The name under which the library knows the attention function."""
        return str(self.config._attn_implementation)  # noqa: SLF001

    @attention.setter
    def attention(self, name: str) -> None:
        cast("Any", self.module).set_attn_implementation(name)

    def __call__(self, ids: Tensor, types: Tensor, **arguments: object) -> Tensor:
        """Final states [B, L, H] of ids and token types [B, L]; `arguments` go to the library's forward()."""
        if self._types:
            arguments["token_type_ids"] = types
        return cast("Tensor", self.module(input_ids=ids, **self._constant, **arguments).last_hidden_state)

    def types(self, ids: Ids) -> NDArray[np.int64]:
        """Token types of one text: 1 after the first separator if the network has more than one type, else 0."""
        types = np.zeros(len(ids), dtype=np.int64)
        if self._separator is not None and self._types > 1:
            ends = np.flatnonzero(ids == self._separator)
            types[ends[0] + 1 if len(ends) else len(ids) :] = 1
        return types

    def positions(self, ids: Ids) -> NDArray[np.int64]:
        """Positions of one text, counted as the network does."""
        if self._padding_id is None:
            return np.arange(len(ids))
        # create_position_ids_from_input_ids in modeling_roberta.py of transformers: it never counts the padding token.
        counted = (ids != self._padding_id).astype(np.int64)
        return np.asarray(counted.cumsum() * counted + self._padding_id)

    def row(self, parts: Sequence[NDArray[Any]]) -> Tensor:
        """Concatenate arrays to one row on the device, int64 [1, T]."""
        return to_device(np.concatenate(parts).astype(np.int64)[None], self.device)


def check_directions(network: LibraryNetwork, checkpoint: Checkpoint) -> None:
    """Refuse a network that stays causal although config.json says is_causal: false, as older libraries do.

    Raises: ModelError.
    """
    if checkpoint.config.get("is_causal") is not False:
        return
    one, other = (network.row([np.array(ids)]) for ids in ((1, 2), (1, 3)))
    first, second = (network(ids, torch.zeros_like(ids))[0, 0] for ids in (one, other))
    if torch.equal(first, second):
        raise ModelError(
            f"{checkpoint.path}/config.json says is_causal: false, and the installed transformers does not read it; "
            "install a newer transformers"
        )


def _padding_id_of_positions(module: nn.Module) -> int | None:
    """The padding id if positions start after it (RoBERTa, MPNet), else None."""
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding):
            return part.padding_idx
    return None


def _max_shared_tokens(config: Any) -> int | None:
    parameters = getattr(config, "rope_parameters", None) or {}
    by_layer_type = [rope for rope in parameters.values() if isinstance(rope, dict)]
    for rope in by_layer_type or [parameters]:
        if rope.get("rope_type") in LENGTH_DEPENDENT_ROPES:
            return int(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
    return None


def load_network(checkpoint: Checkpoint, dtype: torch.dtype, *, classifier: bool = False) -> nn.Module:
    """Load a network to the CPU, without its head, or with it if it is a `classifier`.

    Raises: ModelError: the library's class does not know an entry of config.json, or weights are missing.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # no load report: its errors are raised below
    try:
        config = library_config(checkpoint)
        auto_class = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModel
        with freeing_at_once():
            network, loading_info = _from_pretrained(checkpoint, auto_class, config, dtype)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelError(f"transformers cannot load {checkpoint.path}: {str(error).splitlines()[0]}") from error
    _check_loading_info(checkpoint, network, loading_info, reads_pooler=classifier)
    return cast("nn.Module", network.eval())


def experts_wait(module: nn.Module, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a network has experts whose products ask the GPU for their sizes, so that launching a batch waits for it.

    Those of _grouped_mm_cuda in aten/src/ATen/native/cuda/GroupedBlas.cpp of pytorch do not in bfloat16 on compute
    capability 9.0 and 10.0.
    """
    has_experts = any("experts" in name.split(".") for name, _ in module.named_modules())
    if not has_experts or device.type != "cuda":
        return False
    return dtype != torch.bfloat16 or torch.cuda.get_device_capability(device)[0] not in (9, 10)


def _from_pretrained(checkpoint: Checkpoint, auto_class: Any, config: Any, dtype: torch.dtype) -> Any:
    options = {"dtype": dtype, "output_loading_info": True, "ignore_mismatched_sizes": True}  # mismatches are named
    if checkpoint.plan is None:
        path = checkpoint.path
        return auto_class.from_pretrained(
            path, config=config, trust_remote_code=False, local_files_only=True, **options
        )
    # AutoModel takes no weights of ours, the class that it would choose does. Its rules for dtypes, merged experts and
    # missing weights stay; only the numbers of quantised weights are read here.
    from transformers.models.auto.auto_factory import _get_model_class

    model_class: Any = _get_model_class(config, auto_class._model_mapping)  # noqa: SLF001
    with closing(TensorReader(checkpoint)) as weights:
        return model_class.from_pretrained(None, config=config, state_dict=weights.lazy(dtype), **options)


def copy_mapped(module: nn.Module) -> None:
    """Copy weights on the CPU, one after another, out of the files that the library maps and would keep mapped.

    A mapped weight changes with its file, and reading behind the end of a file ends the process.
    """
    copies: dict[tuple[int, torch.Size], Tensor] = {}  # tied weights share memory, and still do afterwards
    with freeing_at_once():
        for weight in (*module.parameters(), *module.buffers()):
            place = weight.data_ptr(), weight.shape
            if weight.device.type == "cpu" and place not in copies:
                # A tensor of inference mode and one of another mode cannot share data.
                with torch.inference_mode(weight.is_inference()):
                    copies[place] = weight.data.clone()
            weight.data = copies.get(place, weight.data)


def _check_loading_info(checkpoint: Checkpoint, network: nn.Module, loading_info: Any, *, reads_pooler: bool) -> None:
    # The library fills missing weights with random numbers. Only a head reads a pooler.
    missing = [name for name in loading_info["missing_keys"] if reads_pooler or "pooler." not in name]
    mismatched = [str(key if isinstance(key, str) else key[0]) for key in loading_info["mismatched_keys"]]
    if wrong := sorted([*missing, *mismatched, *map(str, loading_info.get("error_msgs") or [])]):
        name = type(network).__name__
        raise ModelError(
            f"{checkpoint.path} lacks weights of {name}, or they have another shape: {', '.join(wrong[:3])}"
        )
    check_surplus(checkpoint, network, loading_info["unexpected_keys"])


def check_surplus(checkpoint: Checkpoint, network: nn.Module, left_over: Iterable[str]) -> None:
    """Refuse a checkpoint with tensors that the network did not take, other than known leftovers.

    Raises: ModelError: names the tensors.
    """
    layers, ahead = (checkpoint.number(key) for key in ("num_hidden_layers", "num_nextn_predict_layers"))
    if names := surplus(left_over, layers=layers, layers_ahead=ahead):
        raise ModelError(f"{checkpoint.path} {say_surplus(type(network).__name__, names)}")
