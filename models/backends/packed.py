"""Backend packed: a network of ours over packed batches. It knows items and devices, not requests."""

import math
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import torch
from torch import Tensor

from models.backends.launched import Launched, launch_or_fail
from models.backends.selfcheck import check_backend
from models.checkpoint.folder import Checkpoint
from models.devices import choose_device, choose_dtype, device_faults, to_device
from models.interface import (
    BackendInfo,
    Item,
    LoadOptions,
    ModelError,
    ModelInfo,
    Pending,
    Pooling,
)
from models.layers.attention import prepare
from models.layers.pooler import Groups, Head, PostPooling, by_readout, load_tail, pool, read
from models.networks.packed_network import PackedBatch, PackedNetwork
from models.networks.prefix_cache import CachedPrefix, PrefixCache
from models.networks.registry import find_architecture
from models.networks.weights import CLASSIFIER, HEAD, TABLE, Weights
from models.packing import PrefixForest, Span, pack


def load(checkpoint: Checkpoint, info: ModelInfo, options: LoadOptions) -> "PackedBackend":
    """Load a checkpoint of a packed network and check it; call it in the thread that will launch batches.

    Raises: ModelError: no network for it, a setting that it lacks, tensors missing or left over, or a failed check.
    """
    architecture = find_architecture(checkpoint)
    config = architecture.read_config(checkpoint.config)
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    with device_faults(), closing(Weights(checkpoint, device=device, dtype=dtype)) as weights:
        network = architecture.network()(config, weights, info.table_rows)
        head = _head(checkpoint, weights, network, info)
        weights.check_all_used()
    chosen = f"every setting of this {checkpoint.model_type} checkpoint is supported"
    about = BackendInfo(
        backend="packed",
        reason="asked for" if options.backend == "packed" else chosen,
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        parameters=sum(math.prod(shape) for shape in checkpoint.tensors.values()),
        shares_prefixes=True,
    )
    tail = load_tail(checkpoint, device)
    backend = PackedBackend(network, head, tail, about, pooling=info.pooling, device=device, dtype=dtype)
    check_backend(backend, info)
    return backend


def _head(checkpoint: Checkpoint, weights: Weights, network: PackedNetwork, info: ModelInfo) -> Head | None:
    if info.classifier:
        return Head.of_classifier(weights.take(CLASSIFIER, 1, info.width), device=weights.device)
    if checkpoint.tied:
        if weights.has(HEAD) and not torch.equal(weights.mapped(HEAD), weights.mapped(TABLE)):
            raise ModelError(
                f"{checkpoint.path}/config.json ties embeddings, but the stored {HEAD} differs from {TABLE}"
            )
        matrix = network.embed_tokens
    elif weights.has(HEAD):
        matrix = weights.mapped(HEAD)
    else:
        return None
    return Head(matrix, device=weights.device, no_yes=info.no_yes) if info.head_rows else None


class PackedBackend:
    """One checkpoint of a packed network; launch() and rows() belong to one thread."""

    def __init__(
        self,
        network: PackedNetwork,
        head: Head | None,
        tail: PostPooling | None,
        info: BackendInfo,
        *,
        pooling: Pooling,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._network, self._head, self._tail, self._info = network, head, tail, info
        self._pooling, self._device, self._dtype = pooling, device, dtype
        self._head_dim = network.head_dim
        self._prefix_cache = PrefixCache(max_tokens=0) if pooling != "lasttoken" else PrefixCache()

    @property
    def info(self) -> BackendInfo:
        """How this checkpoint is run."""
        return self._info

    def launch(self, items: Sequence[Item], *, keep_prefix: bool = False) -> Pending:
        """Start one batch: computed at once on the CPU, enqueued on CUDA."""
        return launch_or_fail(lambda: self._launch(items, keep_prefix=keep_prefix), on_failure=self._prefix_cache.clear)

    def _launch(self, items: Sequence[Item], *, keep_prefix: bool) -> Pending:
        cached = self._prefix_cache.offer()
        forest = pack([item.ids for item in items], [prefix.ids for prefix in cached])
        remember = self._span_to_cache(forest.cacheable, keep_prefix=keep_prefix)
        batch = self._batch(forest, cached, self._dtype, remember)
        groups = by_readout(items)
        read_outs = self._read(batch, forest, groups, self._dtype)

        def keep() -> None:
            if not keep_prefix:
                # Then a request that fits one batch is computed in the same way each time, to the last bit.
                self._prefix_cache.clear()
                return
            # Only when the rows are known to be finite: a NaN would reach later batches.
            self._prefix_cache.note_used([cached[number] for number in forest.used_prefixes])
            if batch.memory and forest.cacheable is not None:
                self._prefix_cache.add(CachedPrefix(forest.tokens[slice(*forest.cacheable)], batch.memory))

        # A NaN spreads over its block of queries: run alone, the other items of the block are finite.
        again = None if self._dtype == torch.float32 and len(items) == 1 else self._again
        return Launched(items, list(groups.values()), read_outs, again=again, when_good=keep)

    def _again(self, item: Item) -> Tensor:
        forest = pack([item.ids])
        batch = self._batch(forest, [], torch.float32)
        return self._read(batch, forest, {item.readout: [0]}, torch.float32)[0]

    @torch.inference_mode()
    def _read(self, batch: PackedBatch, forest: PrefixForest, groups: Groups, dtype: torch.dtype) -> list[Tensor]:
        states = self._network(batch, dtype)
        if self._pooling != "lasttoken":
            states = pool(states, forest, self._pooling)
        return [
            read(states[to_device(forest.rows[numbers], self._device)], readout, self._head, self._tail)
            for readout, numbers in groups.items()
        ]

    def _span_to_cache(self, cacheable: Span | None, *, keep_prefix: bool) -> Span | None:
        if cacheable is None or not keep_prefix or self._pooling != "lasttoken":
            return None
        return cacheable if self._prefix_cache.has_room_for(cacheable[1] - cacheable[0]) else None

    @torch.inference_mode()
    def _batch(
        self, forest: PrefixForest, cached: Sequence[CachedPrefix], dtype: torch.dtype, remember: Span | None = None
    ) -> PackedBatch:
        reads_all = self._pooling != "lasttoken"
        device, head_dim = self._device, self._head_dim
        attention = prepare(forest.layout, device, dtype, head_dim)
        return PackedBatch(
            tokens=to_device(forest.tokens.astype(np.int64), device),
            positions=to_device(forest.positions, device),
            attention=attention,
            ends=None if reads_all else to_device(forest.ends, device),
            ends_attention=attention if reads_all else prepare(forest.layout.at(forest.ends), device, dtype, head_dim),
            cached=[prefix.layers for prefix in cached],
            remember=remember,
        )
