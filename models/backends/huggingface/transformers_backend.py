"""The backend `transformers`: runs the library's network unpadded if that is exact, else padded or one by one."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from models.backends.huggingface.classifier_head import Classifier
from models.backends.huggingface.float32_rerun import float32_activations
from models.backends.huggingface.layout_check import LayoutCheck, Runner
from models.backends.huggingface.layouts import group_tokens
from models.backends.huggingface.network import (
    LibraryNetwork,
    check_directions,
    copy_mapped,
    experts_wait,
    load_network,
)
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
    Pooling,
    Row,
)
from models.layers.onednn import prepack
from models.layers.pooler import (
    Groups,
    Head,
    LanguageModelHead,
    PostPooling,
    by_readout,
    load_post_pooling,
    pool_texts,
    read,
)
from models.networks.registry import why_not_packed
from models.networks.weights import HEAD, Weights

log = logging.getLogger("hearth.models")

PADDED = "transformers-padded"
# Settings with which some networks change logits after the head. Our head does not apply them.
LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")


def load(checkpoint: Checkpoint, info: ModelInfo, options: LoadOptions) -> "TransformersBackend":
    """Load and check a checkpoint with transformers. Call it in the thread that will launch batches.

    Raises: ModelError: the library's class does not know an entry of config.json, weights are missing, or a check
        failed.
    """
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    with device_faults(), torch.inference_mode():
        module = load_network(checkpoint, dtype, classifier=info.classifier).to(device)
        copy_mapped(module)
        classifier = Classifier(module) if info.classifier else None
        network = LibraryNetwork(classifier.body if classifier else module, separator=info.separator)
        check_directions(network, checkpoint)
        layout_check = LayoutCheck(network, info)
        prepack(network.module, device, dtype)
        runner, layout_reason = layout_check.choose(unpadded=options.backend != PADDED)
        pooling = classifier.pooling(layout_check.reference, layout_check.texts) if classifier else info.pooling
    if experts_wait(network.module, device, dtype):
        log.warning(
            "the experts of %s wait for this GPU in every layer, in %s: the next batch is prepared when one has ended",
            *(checkpoint.path, dtype),
        )
    about = BackendInfo(
        backend="transformers",
        reason="asked for" if options.backend != "auto" else why_not_packed(checkpoint) or "",
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        parameters=checkpoint.parameters,
        layout=runner.name,
        layout_reason=layout_reason,
    )
    head = classifier or _head(checkpoint, network.module, info, device)
    post_pooling = load_post_pooling(checkpoint, device)
    backend = TransformersBackend(network, runner, head, post_pooling, about, pooling=pooling, dtype=dtype)
    check_backend(backend, info, backend.exact)
    return backend


def _head(
    checkpoint: Checkpoint, network: nn.Module, info: ModelInfo, device: torch.device
) -> LanguageModelHead | None:
    changed = [key for key in LOGIT_CHANGES if checkpoint.config.get(key)]
    if "lm_head.bias" in checkpoint.tensors:
        changed.append("lm_head.bias")
    if changed and info.kind == "reranker":
        raise ModelError(
            f"{checkpoint.path} changes logits after the head, which is not supported: {', '.join(changed)}"
        )
    if changed or not info.head_rows:
        return None
    if checkpoint.tied:
        table = cast("nn.Embedding", cast("Any", network).get_input_embeddings())
        return LanguageModelHead(table.weight, device=device, no_yes=info.no_yes)
    with closing(Weights(checkpoint, device=device, dtype=torch.float32)) as weights:
        return LanguageModelHead(weights.copy(HEAD), device=device, no_yes=info.no_yes)


class TransformersBackend:
    """One checkpoint that the library's network runs. launch() and rows() belong to one thread."""

    def __init__(
        self,
        network: LibraryNetwork,
        runner: Runner,
        head: Head | None,
        post_pooling: PostPooling | None,
        info: BackendInfo,
        *,
        pooling: Pooling,
        dtype: torch.dtype,
    ) -> None:
        self._network, self._runner, self._info = network, runner, info
        self._head, self._post_pooling = head, post_pooling
        self._pooling, self._dtype = pooling, dtype

    @property
    def info(self) -> BackendInfo:
        return self._info

    def launch(self, items: Sequence[Item], *, keep_prefix: bool = False) -> Pending:
        """Start one batch. On the CPU it is computed before this returns, on CUDA it is enqueued."""
        groups = by_readout(items)
        # A NaN spreads to the other items of its block of queries; run alone, those are finite.
        rerun = None if self._dtype == torch.float32 and len(items) == 1 else self._rerun
        return launch_or_fail(lambda: Launched(items, list(groups.values()), self._read(items, groups), rerun=rerun))

    def exact(self, item: Item) -> Row:
        """The row of one item, computed alone with float32 activations; NaN or Inf stay as they are."""
        return row_of(lambda: self._rerun(item))

    def _rerun(self, item: Item) -> Tensor:
        is_wide = self._dtype == torch.float32
        mode = None if is_wide else float32_activations(self._network.module, self._dtype)
        return self._read([item], {item.readout: [0]}, mode)[0]

    @torch.inference_mode()
    def _read(
        self, items: Sequence[Item], groups: Groups, mode: AbstractContextManager[None] | None = None
    ) -> list[Tensor]:
        with mode or nullcontext():
            states = self._states([item.ids for item in items])
        return [
            read(states[to_device(np.array(numbers), states.device)], readout, self._head, self._post_pooling)
            for readout, numbers in groups.items()
        ]

    def _states(self, texts: Sequence[Ids]) -> Tensor:
        """Pooled states [n, H], float32."""
        states: dict[int, Tensor] = {}
        for numbers in self._groups([len(ids) for ids in texts]):
            group = [texts[number] for number in numbers]
            pooled = pool_texts(self._runner.states(group), [len(ids) for ids in group], self._pooling)
            states |= zip(numbers, pooled, strict=True)
        return torch.stack([states[number] for number in range(len(texts))])

    def _groups(self, lengths: Sequence[int]) -> list[list[int]]:
        limit = self._network.max_shared_tokens
        together = [number for number, length in enumerate(lengths) if limit is None or length <= limit]
        alone = [] if limit is None else [[number] for number, length in enumerate(lengths) if length > limit]
        max_tokens = group_tokens(self._network.device)
        groups = self._runner.groups([lengths[number] for number in together], max_tokens)
        return [[together[place] for place in group] for group in groups] + alone
