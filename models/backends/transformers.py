"""Way 2: the library's own network, over groups of similar length, padded on the right and masked by length."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.architectures.qwen3_config import why_not_packed
from models.backends.entries import check_entries
from models.backends.padding import pool_padded, similar_lengths
from models.backends.pending import Failed, Launched
from models.backends.widening import widened
from models.checkpoint import Checkpoint
from models.devices import choose_device, choose_dtype, device_faults
from models.interface import (
    BackendInfo,
    DeviceLost,
    Ids,
    Item,
    LoadOptions,
    ModelError,
    ModelInfo,
    OutOfMemory,
    Pending,
    Pooling,
)
from models.readout import Groups, Head, by_readout, read
from models.selfcheck import check_backend
from models.tail import Tail, load_tail
from models.weights import CLASSIFIER, HEAD, Weights

# Larger padded batches are slower on a CPU: 64 texts of mixed lengths took 3.3 times as long at 32 a batch as at 4.
GROUP_TOKENS = {"cpu": 512, "cuda": 16384}
# What some networks do to logits after the head; we read the head ourselves.
LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")


def load(path: str, info: ModelInfo, options: LoadOptions) -> "TransformersBackend":
    """Load a checkpoint with transformers and check it; belongs to the thread that will launch batches.

    Raises: ModelError: an entry of config.json or a tensor that the library's class does not know, or a failed check.
    """
    checkpoint = Checkpoint(Path(path))
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    with device_faults():
        network = _load_network(checkpoint, dtype).to(device)
    about = BackendInfo(
        backend="transformers",
        reason="asked for" if options.backend == "transformers" else why_not_packed(checkpoint) or "",
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        parameters=sum(math.prod(shape) for shape in checkpoint.tensors.values()),
    )
    head = _head(checkpoint, network, info, device)
    tail = load_tail(checkpoint, device)
    backend = TransformersBackend(network, head, tail, about, pooling=info.pooling, device=device, dtype=dtype)
    check_backend(backend, info)
    return backend


def _load_network(checkpoint: Checkpoint, dtype: torch.dtype) -> nn.Module:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # its load report: what matters of it is raised below
    where = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = transformers.AutoConfig.from_pretrained(checkpoint.path, **where)
        check_entries(checkpoint, type(config))
        network, found = transformers.AutoModel.from_pretrained(
            checkpoint.path,
            config=config,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # to name them, below
            **where,
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise ModelError(f"transformers cannot load {checkpoint.path}: {str(error).splitlines()[0]}") from error
    # Nothing reads a pooler; whatever else is missing would be random numbers.
    missing = [name for name in found["missing_keys"] if "pooler." not in name]
    other_shapes = [str(key if isinstance(key, str) else key[0]) for key in found["mismatched_keys"]]
    if wrong := sorted([*missing, *other_shapes, *map(str, found.get("error_msgs") or [])]):
        name = type(network).__name__
        raise ModelError(f"{checkpoint.path} lacks weights of {name}, or they do not fit: {', '.join(wrong[:3])}")
    return cast("nn.Module", network.eval())


def _head(checkpoint: Checkpoint, network: nn.Module, info: ModelInfo, device: torch.device) -> Head | None:
    changed = [key for key in LOGIT_CHANGES if checkpoint.config.get(key)]
    if "lm_head.bias" in checkpoint.tensors:
        changed.append("lm_head.bias")
    if changed and info.kind == "reranker":
        raise ModelError(f"{checkpoint.path} changes its logits in a way that is not served: {', '.join(changed)}")
    if info.classifier:
        weight = Weights(checkpoint, device=device, dtype=torch.float32).take(CLASSIFIER, 1, info.width)
        return Head.of_classifier(weight, device=device)
    if changed or not info.head_rows:
        return None
    if checkpoint.tied:
        table = cast("nn.Embedding", cast("Any", network).get_input_embeddings())
        return Head(table.weight, device=device, no_yes=info.no_yes)
    matrix = Weights(checkpoint, device=device, dtype=torch.float32).mapped(HEAD)
    return Head(matrix, device=device, no_yes=info.no_yes)


class TransformersBackend:
    """One checkpoint run by the library's network; launch() and rows() belong to one thread."""

    def __init__(
        self,
        network: nn.Module,
        head: Head | None,
        tail: Tail | None,
        info: BackendInfo,
        *,
        pooling: Pooling,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._network, self._head, self._tail, self._info = network, head, tail, info
        self._pooling, self._device, self._dtype = pooling, device, dtype

    @property
    def info(self) -> BackendInfo:
        """How this checkpoint is run."""
        return self._info

    def launch(self, items: Sequence[Item], *, more_follow: bool = False) -> Pending:
        """Start one batch: computed at once on the CPU, enqueued on CUDA."""
        groups = by_readout(items)
        again = None if self._dtype == torch.float32 else self._again
        try:
            with device_faults():
                return Launched(items, list(groups.values()), self._read(items, groups), again=again)
        except (OutOfMemory, DeviceLost) as error:
            return Failed(error)

    def _again(self, item: Item) -> Tensor:
        return self._read([item], {item.readout: [0]}, widened(self._network, self._dtype))[0]

    @torch.inference_mode()
    def _read(
        self, items: Sequence[Item], groups: Groups, mode: AbstractContextManager[None] | None = None
    ) -> list[Tensor]:
        with mode or nullcontext():
            states = self._states([item.ids for item in items])
        return [read(states[numbers], readout, self._head, self._tail) for readout, numbers in groups.items()]

    def _states(self, texts: Sequence[Ids]) -> Tensor:
        """Pooled states [n, H], float32."""
        states: dict[int, Tensor] = {}
        for numbers in similar_lengths([len(ids) for ids in texts], GROUP_TOKENS.get(self._device.type, 512)):
            pooled = self._pooled([texts[number] for number in numbers])
            states |= zip(numbers, pooled, strict=True)
        return torch.stack([states[number] for number in range(len(texts))])

    def _pooled(self, texts: Sequence[Ids]) -> Tensor:
        longest = max(len(ids) for ids in texts)
        padded = np.zeros((len(texts), longest), dtype=np.int64)
        for row, ids in zip(padded, texts, strict=True):
            row[: len(ids)] = ids
        # By length, never by id: the padding id of Qwen3 is its terminator.
        lengths = torch.tensor([len(ids) for ids in texts], device=self._device)
        mask = torch.arange(longest, device=self._device) < lengths[:, None]
        tokens = torch.from_numpy(padded).to(self._device)
        hidden = self._network(input_ids=tokens, attention_mask=mask.long(), **self._no_cache()).last_hidden_state
        return pool_padded(hidden.float(), mask, self._pooling)

    def _no_cache(self) -> dict[str, bool]:
        return {"use_cache": False} if hasattr(self._network.config, "use_cache") else {}
