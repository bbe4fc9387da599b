"""The backend `packed`: runs our own networks over packed batches. It knows items and devices, not requests."""

from collections.abc import Sequence
from contextlib import closing
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from models.backends.launched import Launched, launch_or_fail, row_of
from models.backends.micro_batch import MicroBatch
from models.backends.running_pass import RunningPass
from models.backends.selfcheck import check_backend
from models.backends.streams import Division, divide, streams_for
from models.checkpoint.folder import Checkpoint
from models.devices import Staging, choose_device, choose_dtype, device_faults
from models.interface import (
    BackendInfo,
    Item,
    LoadOptions,
    ModelError,
    ModelInfo,
    Pending,
    Pooling,
    Row,
    SplitPass,
)
from models.layers.attention import sharing_costs
from models.layers.onednn import float32_products
from models.layers.pooler import (
    LanguageModelHead,
    PostPooling,
    load_post_pooling,
    pool_forest,
    read,
)
from models.layers.shape_buckets import LARGE_MATRIX, padded_tokens
from models.networks.entries import say_unread
from models.networks.packed_network import PackedBatch, PackedNetwork
from models.networks.prefix_cache import CachedPrefix, PrefixCache
from models.networks.registry import find_architecture
from models.networks.weights import CLASSIFIER, HEAD, TABLE, Weights
from models.packing import Span, new_tokens
from models.prefix_trie import FREE, SharingCosts

# A batch is divided if its micro-batches compute at most this many times its tokens.
MOST_REPEATED = 1.05


def load(checkpoint: Checkpoint, info: ModelInfo, options: LoadOptions) -> "PackedBackend":
    """Load and check a checkpoint of a packed network. Call it in the thread that will launch batches.

    Raises: ModelError: no packed network has this model_type or supports a setting of it, tensors are missing or left
        over, or a check failed.
    """
    architecture = find_architecture(checkpoint)
    config = architecture.read_config(checkpoint.config)
    say_unread(checkpoint, architecture.entries)
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device)
    with device_faults(), closing(Weights(checkpoint, device=device, dtype=dtype)) as weights:
        network = architecture.network()(config, weights, info.table_rows)
        head = _head(checkpoint, weights, network, info)
        weights.check_all_used(architecture.name)
        fused, fused_reason = architecture.fuse(network, device, dtype)
    all_supported = f"every setting of this {checkpoint.model_type} checkpoint is supported"
    about = BackendInfo(
        backend="packed",
        reason="asked for" if options.backend == "packed" else all_supported,
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
        parameters=checkpoint.parameters,
        shares_prefixes=True,
        splits_texts=device.type == "cpu",
        fused=fused is not network,
        fused_reason=fused_reason,
    )
    post_pooling = load_post_pooling(checkpoint, device)
    costs = sharing_costs(
        device,
        parameters=about.parameters - network.embed_tokens.numel(),
        layers=int(checkpoint.config["num_hidden_layers"]),
        hidden_size=int(checkpoint.config["hidden_size"]),
        head_numbers=int(checkpoint.config["num_attention_heads"]) * network.head_dim,
        fused=about.fused,
    )
    backend = PackedBackend(
        fused, head, post_pooling, about, pooling=info.pooling, device=device, dtype=dtype, costs=costs
    )
    check_backend(backend, info, backend.exact)
    return backend


def _head(
    checkpoint: Checkpoint, weights: Weights, network: PackedNetwork, info: ModelInfo
) -> LanguageModelHead | None:
    if info.classifier:
        return LanguageModelHead.of_classifier(weights.take(CLASSIFIER, 1, info.width), device=weights.device)
    if checkpoint.tied:
        if weights.has(HEAD) and not torch.equal(weights.mapped(HEAD), weights.mapped(TABLE)):
            raise ModelError(
                f"{checkpoint.path}/config.json ties the head to the token table, "
                f"but the stored {HEAD} differs from {TABLE}"
            )
        matrix = network.embed_tokens
    elif weights.has(HEAD):
        matrix = weights.copy(HEAD) if info.head_rows else weights.mapped(HEAD)
    else:
        return None
    return LanguageModelHead(matrix, device=weights.device, no_yes=info.no_yes) if info.head_rows else None


class PackedBackend:
    """One checkpoint of a packed network. launch() and rows() belong to one thread."""

    def __init__(
        self,
        network: PackedNetwork,
        head: LanguageModelHead | None,
        post_pooling: PostPooling | None,
        info: BackendInfo,
        *,
        pooling: Pooling,
        device: torch.device,
        dtype: torch.dtype,
        costs: SharingCosts = FREE,
    ) -> None:
        self._costs = costs
        self._network, self._head, self._post_pooling, self._info = network, head, post_pooling, info
        self._pooling, self._device, self._dtype = pooling, device, dtype
        self._streams = streams_for(device, network.embed_tokens.shape[1])
        self._prefix_cache = PrefixCache(max_tokens=0) if pooling != "lasttoken" else PrefixCache()

    @property
    def info(self) -> BackendInfo:
        return self._info

    def launch(self, items: Sequence[Item], *, keep_prefix: bool = False) -> Pending:
        """Start one batch. On the CPU it is computed before this returns, on CUDA it is enqueued."""
        return launch_or_fail(lambda: self._launch(items, keep_prefix=keep_prefix), on_failure=self._prefix_cache.clear)

    def _launch(self, items: Sequence[Item], *, keep_prefix: bool) -> Pending:
        if items[0].split is not None:
            return self._launch_part(items, items[0].split)
        cached = self._prefix_cache.prefixes()
        micro_batches, division = self._divide(items, cached)
        for micro in micro_batches:
            micro.span_to_cache = self._span_to_cache(micro.forest.cacheable, keep_prefix=keep_prefix)
            if micro.span_to_cache is not None:
                break
        read_outs = self._run_all(micro_batches, division, cached)
        groups = [[micro.numbers[row] for row in rows] for micro in micro_batches for rows in micro.groups.values()]

        def update_cache() -> None:
            if not keep_prefix:
                # So a request that fits in one batch gets the same answer each time, to the last bit.
                self._prefix_cache.clear()
                return
            # Only when all rows are finite: a cached NaN would reach later batches.
            used = {number for micro in micro_batches for number in micro.forest.used_prefixes}
            self._prefix_cache.note_used([cached[number] for number in sorted(used)])
            for micro in micro_batches:
                if micro.span_to_cache is not None:
                    tokens = micro.forest.tokens[slice(*micro.span_to_cache)]
                    self._prefix_cache.add(CachedPrefix(tokens, micro.new_cache_entry))

        # A NaN spreads to the other items of its block of queries; run alone, those are finite.
        rerun = None if self._dtype == torch.float32 and len(items) == 1 else self._rerun
        return Launched(items, groups, read_outs, rerun=rerun, on_success=update_cache)

    def _divide(
        self, items: Sequence[Item], cached: Sequence[CachedPrefix]
    ) -> tuple[list[MicroBatch], Division | None]:
        """One micro-batch, unless the device is a CPU and dividing the batch costs little."""
        prefixes = [prefix.ids for prefix in cached]
        whole = MicroBatch.of(items, range(len(items)), prefixes, self._costs)
        if self._streams is None:
            return [whole], None
        division = divide(new_tokens([item.ids for item in items]).tolist(), self._streams.cores)
        if division is None:
            return [whole], None
        micro_batches = [MicroBatch.of(items, numbers, prefixes, self._costs) for numbers in division.micro_batches]
        # Each computes the prefixes of its own items.
        computed = sum(len(micro.forest.tokens) for micro in micro_batches)
        most = MOST_REPEATED * len(whole.forest.tokens)
        return (micro_batches, division) if computed <= most else ([whole], None)

    def _run_all(
        self, micro_batches: Sequence[MicroBatch], division: Division | None, cached: Sequence[CachedPrefix]
    ) -> list[Tensor]:
        if self._streams is None or division is None:
            if self._streams is not None:
                self._streams.use_free_cores()
            return self._run(micro_batches[0], self._dtype, cached)
        # A setting of the whole process, and so not of a micro-batch.
        with float32_products(exact=self._dtype == torch.float32):
            read_outs = self._streams.map(
                lambda number: self._run(micro_batches[number], self._dtype, cached), division
            )
        return list(chain.from_iterable(read_outs))

    @torch.inference_mode()
    def _launch_part(self, items: Sequence[Item], split: SplitPass) -> Pending:
        (item,) = items
        if self._streams is not None:
            self._streams.use_free_cores()
        if split.state is None:
            dtype = torch.float32 if split.exact else self._dtype
            split.state = RunningPass(self._network, item.ids, dtype, self._pooling)
        assert isinstance(split.state, RunningPass), "another backend began this text: this is a bug"
        state = split.state.advance(item.until)
        nothing = torch.empty((1, 0))
        read_out = nothing if state is None else read(state, item.readout, self._head, self._post_pooling)
        return Launched(items, [[0]], [read_out])

    def exact(self, item: Item) -> Row:
        """The row of one item, computed alone with float32 activations; NaN or Inf stay as they are."""
        return row_of(lambda: self._rerun(item))

    def _rerun(self, item: Item) -> Tensor:
        return self._run(MicroBatch.of([item], [0], (), self._costs), torch.float32)[0]

    @torch.inference_mode()
    def _run(self, micro: MicroBatch, dtype: torch.dtype, cached: Sequence[CachedPrefix] = ()) -> list[Tensor]:
        staging = Staging(self._device)
        batch = self._batch(micro, dtype, cached, staging)
        rows = {readout: staging.add(micro.forest.rows[numbers]) for readout, numbers in micro.groups.items()}
        staging.send()
        states = self._network(batch, dtype)
        if self._pooling != "lasttoken":
            states = pool_forest(states, micro.forest, self._pooling)
        return [read(states[indexes], readout, self._head, self._post_pooling) for readout, indexes in rows.items()]

    def _span_to_cache(self, cacheable: Span | None, *, keep_prefix: bool) -> Span | None:
        if cacheable is None or not keep_prefix or self._pooling != "lasttoken":
            return None
        return cacheable if self._prefix_cache.has_room_for(cacheable[1] - cacheable[0]) else None

    def _batch(
        self, micro: MicroBatch, dtype: torch.dtype, cached: Sequence[CachedPrefix], staging: Staging
    ) -> PackedBatch:
        reads_all, forest = self._pooling != "lasttoken", micro.forest
        prefixes = [prefix.layers for prefix in cached]
        attention = ends_attention = self._network.prepare_attention(forest.layout, staging, dtype, prefixes)
        if not reads_all:
            ends = forest.layout.at(forest.ends)
            ends_attention = self._network.prepare_attention(ends, staging, dtype, prefixes)
        # The padding follows the tokens of all items. Nothing attends to it, and no item reads its states.
        total = len(forest.tokens)
        padding = padded_tokens(total, LARGE_MATRIX) - total if self._device.type == "cpu" else 0
        return PackedBatch(
            tokens=staging.add(np.pad(forest.tokens.astype(np.int64), (0, padding))),
            positions=staging.add(np.pad(forest.positions, (0, padding))),
            attention=attention,
            ends=None if reads_all else staging.add(forest.ends),
            ends_attention=ends_attention,
            cached=prefixes,
            span_to_cache=micro.span_to_cache,
            new_cache_entry=micro.new_cache_entry,
        )
