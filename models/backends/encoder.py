"""The backend `encoder`: runs our own BERT over unpadded texts, for embedders. It never imports transformers."""

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from models.backends.launched import FailedBatch, Launched, row_of
from models.backends.selfcheck import check_backend
from models.checkpoint.folder import Checkpoint
from models.devices import Staging, choose_device, choose_dtype, device_faults
from models.interface import (
    BackendInfo,
    DeviceLost,
    Item,
    LoadOptions,
    ModelError,
    ModelInfo,
    OutOfMemory,
    Pending,
    Pooling,
    Row,
)
from models.layers.pooler import Groups, PostPooling, by_readout, load_post_pooling, pool_texts, read
from models.layers.sequence_attention import SequenceLayout
from models.layers.shape_buckets import LARGE_MATRIX, padded_tokens
from models.memory import freeing_at_once
from models.networks.bert import Bert
from models.networks.bert_config import BERT_ENTRIES, read_bert_config
from models.networks.entries import say_unread
from models.networks.weights import Weights


def load(checkpoint: Checkpoint, info: ModelInfo, options: LoadOptions) -> "EncoderBackend":
    """Load and check a BERT embedder. Call it in the thread that will launch batches.

    Raises: ModelError: it is no embedder, our BERT does not support a setting, a tensor is missing, or a check failed.
    """
    if info.kind != "embedder":
        raise ModelError(f"the backend encoder runs embedders only; {checkpoint.path} is a {info.kind}")
    config = read_bert_config(checkpoint)
    say_unread(checkpoint, BERT_ENTRIES)
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    with device_faults(), freeing_at_once(), closing(Weights(checkpoint, device=device, dtype=dtype)) as weights:
        network = Bert(config, weights)
    all_supported = f"every setting of this {checkpoint.model_type} checkpoint is supported"
    about = BackendInfo(
        backend="encoder",
        reason="asked for" if options.backend == "encoder" else all_supported,
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        parameters=checkpoint.parameters,
        layout="unpadded",
    )
    backend = EncoderBackend(network, load_post_pooling(checkpoint, device), about, info.pooling, device, dtype)
    check_backend(backend, info, backend.exact)
    return backend


class EncoderBackend:
    """One BERT embedder. launch() and rows() belong to one thread."""

    def __init__(
        self,
        network: Bert,
        post_pooling: PostPooling | None,
        info: BackendInfo,
        pooling: Pooling,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._network, self._post_pooling, self._info = network, post_pooling, info
        self._pooling, self._device, self._dtype = pooling, device, dtype

    @property
    def info(self) -> BackendInfo:
        return self._info

    def launch(self, items: Sequence[Item], *, keep_prefix: bool = False) -> Pending:
        """Start one batch. On the CPU it is computed before this returns, on CUDA it is enqueued."""
        del keep_prefix  # every token sees the tokens after it, so the states of a prefix cannot be shared
        groups = by_readout(items)
        rerun = None if self._dtype == torch.float32 and len(items) == 1 else self._rerun
        try:
            with device_faults():
                return Launched(items, list(groups.values()), self._read(items, groups, self._dtype), rerun=rerun)
        except (OutOfMemory, DeviceLost) as error:
            return FailedBatch(error)

    def exact(self, item: Item) -> Row:
        """The row of one item, computed alone with float32 activations; NaN or Inf stay as they are."""
        return row_of(lambda: self._rerun(item))

    def _rerun(self, item: Item) -> Tensor:
        return self._read([item], {item.readout: [0]}, torch.float32)[0]

    @torch.inference_mode()
    def _read(self, items: Sequence[Item], groups: Groups, dtype: torch.dtype) -> list[Tensor]:
        lengths = [len(item.ids) for item in items]
        total, staging = sum(lengths), Staging(self._device)
        # The padding follows the tokens of all items. Nothing attends to it, and no item reads its states.
        padding = padded_tokens(total, LARGE_MATRIX) - total if self._device.type == "cpu" else 0
        tokens = staging.add(np.pad(np.concatenate([item.ids for item in items]).astype(np.int64), (0, padding)))
        positions = staging.add(np.pad(np.concatenate([np.arange(length) for length in lengths]), (0, padding)))
        rows = {readout: staging.add(np.array(numbers)) for readout, numbers in groups.items()}
        layout = SequenceLayout(lengths, self._device)
        # Else the layout would copy them by itself.
        layout.cu_seqlens = staging.add(np.cumsum([0, *lengths], dtype=np.int32))
        staging.send()
        states = self._network(tokens, positions, layout, dtype)
        pooled = pool_texts(states[:total], lengths, self._pooling, cu_seqlens=layout.cu_seqlens)
        return [read(pooled[indexes], readout, None, self._post_pooling) for readout, indexes in rows.items()]
