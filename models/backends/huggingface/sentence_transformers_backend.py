"""The backend `sentence_transformers`: runs the library's own modules, padded, if no other backend supports them."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.backends.huggingface.config import OVERRULED, check_entries
from models.backends.huggingface.float32_rerun import float32_activations
from models.backends.huggingface.layouts import group_tokens, pad, similar_lengths
from models.backends.huggingface.network import check_surplus, copy_mapped
from models.backends.launched import Launched, launch_or_fail, row_of
from models.backends.selfcheck import check_backend
from models.checkpoint.folder import Checkpoint
from models.devices import choose_device, choose_dtype, device_faults, to_device
from models.interface import (
    BackendInfo,
    Ids,
    Item,
    LoadOptions,
    ModelError,
    ModelInfo,
    Pending,
    Row,
)
from models.networks.entries import CODE

# The errors that the library raises for a folder that it cannot read.
LIBRARY_ERRORS = (OSError, ValueError, RuntimeError, ImportError, KeyError, TypeError, AttributeError)


def load(checkpoint: Checkpoint, info: ModelInfo, options: LoadOptions) -> "ModulesBackend":
    """Load and check an embedder with sentence-transformers. Call it in the thread that will launch batches.

    Raises: ModelError: it is a reranker, the library cannot read it, weights are missing, or a check failed.
    """
    if info.kind == "reranker":
        raise ModelError(f"{checkpoint.path} is a reranker; the backend sentence_transformers supports embedders only")
    if checkpoint.ignored - {CODE}:
        raise ModelError(
            f"{checkpoint.path} is read by sentence-transformers, which reads config.json itself; `ignore_entries` has "
            "no effect there: remove the entries from the file"
        )
    if info.quantization:
        raise ModelError(
            f"{checkpoint.path} has quantised weights ({info.quantization}), which the modules of "
            f"sentence-transformers do not read ({info.library_modules or 'asked for'}); use the checkpoint that it "
            "was made from"
        )
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    with device_faults():
        modules = _load_modules(checkpoint, device, dtype)
    about = BackendInfo(
        backend="sentence_transformers",
        reason="asked for" if options.backend != "auto" else info.library_modules or "",
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        parameters=checkpoint.parameters,
        layout="padded",
        layout_reason="the modules of sentence-transformers support padded batches only",
    )
    backend = ModulesBackend(modules, about, dtype=dtype, device=device)
    check_backend(backend, info, backend.exact)
    return backend


def _load_modules(checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> list[nn.Module]:
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        model = SentenceTransformer(
            str(checkpoint.path),
            device=str(device),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"dtype": dtype},
            config_kwargs=dict(OVERRULED),
        )
    except LIBRARY_ERRORS as error:
        raise ModelError(
            f"sentence-transformers cannot load {checkpoint.path}: {str(error).splitlines()[0]}"
        ) from error
    # Pooling and projections are computed in float32, as in the other backends.
    modules = [part.float() if number else part for number, part in enumerate(model.eval())]
    for part in modules:
        copy_mapped(part)
    network = _network(modules)
    check_entries(checkpoint, type(network.config))
    _check_weights(checkpoint, network)
    # Normalisation is applied later, by request.
    while type(modules[-1]).__name__ == "Normalize":
        modules.pop()
    return modules


def _network(modules: Sequence[nn.Module]) -> Any:
    return cast("Any", modules[0]).model


def _check_weights(checkpoint: Checkpoint, network: nn.Module) -> None:
    # The library fills missing weights with random numbers and only logs it.
    stored = set(checkpoint.tensors)
    tied = set(getattr(network, "all_tied_weights_keys", None) or {})
    missing = [
        name
        for name, _ in network.named_parameters()
        if "pooler." not in name and name not in tied and not any(_is_same(name, stored_name) for stored_name in stored)
    ]
    if missing:
        name = type(network).__name__
        raise ModelError(f"{checkpoint.path} lacks weights of {name}: {', '.join(sorted(missing)[:3])}")

    check_surplus(checkpoint, network, _left_over(checkpoint, network))


def _left_over(checkpoint: Checkpoint, network: nn.Module) -> list[str]:
    """Stored tensors that are not in the network, whichever of the two has the prefix of a larger model."""
    prefix = f"{cast('Any', network).base_model_prefix}."
    own = {name.removeprefix(prefix) for name in network.state_dict()}
    left_over = (name for name in checkpoint.tensors if name.removeprefix(prefix) not in own)
    # The library's own list, such as the decoder of a T5.
    ignored = getattr(network, "_keys_to_ignore_on_load_unexpected", None) or ()
    return [name for name in left_over if not any(re.search(pattern, name) for pattern in ignored)]


def _is_same(name: str, stored: str) -> bool:
    return name == stored or name.endswith(f".{stored}") or stored.endswith(f".{name}")


class ModulesBackend:
    """One checkpoint that the library's modules run. launch() and rows() belong to one thread."""

    def __init__(
        self, modules: Sequence[nn.Module], info: BackendInfo, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._modules, self._info = modules, info
        self._dtype, self._device = dtype, device

    @property
    def info(self) -> BackendInfo:
        return self._info

    def launch(self, items: Sequence[Item], *, keep_prefix: bool = False) -> Pending:
        """Start one batch. On the CPU it is computed before this returns, on CUDA it is enqueued."""
        if unsupported := {item.readout.what for item in items} - {"vector"}:
            names = ", ".join(sorted(unsupported))
            raise ModelError(f"the backend sentence_transformers supports 'vector' only; got {names}")
        rerun = None if self._dtype == torch.float32 else self._rerun
        return launch_or_fail(
            lambda: Launched(items, [range(len(items))], [self._vectors([item.ids for item in items])], rerun=rerun)
        )

    def exact(self, item: Item) -> Row:
        """The row of one item, computed alone with float32 activations; NaN or Inf stay as they are."""
        return row_of(lambda: self._rerun(item))

    def _rerun(self, item: Item) -> Tensor:
        return self._vectors([item.ids], float32_activations(_network(self._modules), self._dtype))

    @torch.inference_mode()
    def _vectors(self, texts: Sequence[Ids], mode: AbstractContextManager[None] | None = None) -> Tensor:
        """Vectors [n, W], float32."""
        vectors: dict[int, Tensor] = {}
        with mode or nullcontext():
            for numbers in similar_lengths([len(ids) for ids in texts], group_tokens(self._device)):
                vectors |= zip(numbers, self._run([texts[number] for number in numbers]), strict=True)
        return torch.stack([vectors[number] for number in range(len(texts))])

    def _run(self, texts: Sequence[Ids]) -> Tensor:
        ids, is_token = pad(texts)
        attention_mask = to_device(is_token.astype(np.int64), self._device)
        mask = attention_mask.bool()
        features = {"input_ids": to_device(ids, self._device), "attention_mask": attention_mask}
        features = self._modules[0](features)
        states = features["token_embeddings"] = features["token_embeddings"].float()
        for module in self._modules[1:]:
            features = module(features)
        # A Tanh or Sigmoid would turn Inf into a finite number.
        non_finite = (~torch.isfinite(states).all(2) & mask).any(1, keepdim=True)
        vectors: Tensor = features["sentence_embedding"].float()
        return vectors.masked_fill(non_finite, torch.nan)
