"""Qwen3 on the kernels of models.cuda: nine launches a layer. The same weights, and Qwen3 itself for other dtypes."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from models.cuda.choice import LayerShape, choose_kernels
from models.cuda.forest_attention import ForestAttention
from models.cuda.kernels import Kernels
from models.devices import Staging
from models.layers.attention import Attention
from models.layers.cpu_attention import KeysValues
from models.networks.packed_network import PackedBatch, PackedNetwork
from models.networks.qwen3 import Layer, Qwen3
from models.packing import AttentionLayout

Angles = tuple[Tensor, Tensor]


def fuse(network: Qwen3, device: torch.device, dtype: torch.dtype) -> tuple[PackedNetwork, str]:
    """The network on the kernels, or itself where they do not run; and why."""
    config = network.config
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    shape = LayerShape(config.hidden_size, config.intermediate_size, heads, groups, config.head_dim)
    kernels, reason = choose_kernels(shape, device, dtype)
    return (FusedQwen3(network, kernels) if kernels else network), reason


class FusedQwen3:
    """Implements PackedNetwork. The products add to the hidden states themselves, so no kernel does."""

    def __init__(self, network: Qwen3, kernels: Kernels) -> None:
        self._plain, self._kernels = network, kernels
        self._config, self.head_dim, self.embed_tokens = network.config, network.head_dim, network.embed_tokens
        self._eps, self.layer_count = network.config.rms_norm_eps, network.layer_count
        # As Rotary.of() makes them.
        steps = torch.arange(0, self.head_dim, 2, dtype=torch.float32, device=self.embed_tokens.device)
        self._frequencies = 1.0 / network.config.rope_theta ** (steps / self.head_dim)

    def prepare_attention(
        self, layout: AttentionLayout, staging: Staging, dtype: torch.dtype, cached: Sequence[Sequence[KeysValues]]
    ) -> Attention:
        if dtype != self.embed_tokens.dtype:
            return self._plain.prepare_attention(layout, staging, dtype, cached)
        group = self._config.num_attention_heads // self._config.num_key_value_heads
        return ForestAttention(layout, staging, self._kernels, group=group, cached=cached)

    def __call__(self, batch: PackedBatch, dtype: torch.dtype) -> Tensor:
        if dtype != self.embed_tokens.dtype:
            return self._plain(batch, dtype)
        products = batch.positions.float()[:, None] * self._frequencies
        angles = products.cos(), products.sin()
        layers, kernels = self._plain.layers, self._kernels
        hidden, normed = kernels.embed(self.embed_tokens, batch.tokens, layers[0].input_layernorm, self._eps)
        for number, layer in enumerate(layers[:-1]):
            self._layer(layer, number, hidden, normed, angles, batch)
            normed = self._norm(hidden, layers[number + 1].input_layernorm)
        hidden = self._last_layer(hidden, normed, angles, batch)
        return kernels.rms_norm(hidden, self._plain.norm, self._eps, torch.float32)

    def steps(self, chunks: Sequence[PackedBatch], dtype: torch.dtype) -> Iterator[Tensor | None]:
        """Those of the plain network: on a GPU no text is computed in parts."""
        return self._plain.steps(chunks, dtype)

    def _layer(
        self, layer: Layer, number: int, hidden: Tensor, normed: Tensor, angles: Angles, batch: PackedBatch
    ) -> None:
        """Add a layer to `hidden` [T, H]; `normed` is its input."""
        heads = self._heads(layer.qkv_proj[0](normed))
        query, keys_values = heads.split((self._config.num_attention_heads, 2 * self._groups), dim=1)
        self._rotate(layer, heads[:, : -self._groups], query.shape[1], angles)
        attended = batch.attention(query, self._sources(keys_values, number, batch))
        self._finish(layer, hidden, attended)

    def _last_layer(self, hidden: Tensor, normed: Tensor, angles: Angles, batch: PackedBatch) -> Tensor:
        """Hidden states [E, H] of the ends, or of all tokens; keys and values are of all tokens."""
        layer, ends = self._plain.layers[-1], batch.ends
        keys_values = self._heads(layer.qkv_proj[1](normed))
        self._rotate(layer, keys_values[:, : self._groups], 0, angles)
        if ends is not None:
            hidden, normed, angles = hidden[ends], normed[ends], (angles[0][ends], angles[1][ends])
        query = self._heads(layer.qkv_proj[0](normed))
        self._rotate(layer, query, query.shape[1], angles)
        sources = self._sources(keys_values, len(self._plain.layers) - 1, batch)
        self._finish(layer, hidden, batch.ends_attention(query, sources))
        return hidden

    def _finish(self, layer: Layer, hidden: Tensor, attended: Tensor) -> None:
        hidden.addmm_(attended.flatten(1), layer.o_proj.weight.T)
        gate_up = layer.gate_up_proj.products(self._norm(hidden, layer.post_attention_layernorm))
        hidden.addmm_(self._kernels.silu_mul(gate_up), layer.down_proj.weight.T)

    def _sources(self, keys_values: Tensor, number: int, batch: PackedBatch) -> list[KeysValues]:
        """Keys and values of the batch from its heads [T, 2 K, D], and of the cached prefixes; keeps what it must."""
        if batch.span_to_cache is not None:
            kept = keys_values[slice(*batch.span_to_cache)].clone()
            batch.new_cache_entry.append((kept[:, : self._groups], kept[:, self._groups :]))
        own = keys_values[:, : self._groups], keys_values[:, self._groups :]
        return [own, *(prefix[number] for prefix in batch.cached)]

    def _rotate(self, layer: Layer, heads: Tensor, query_heads: int, angles: Angles) -> None:
        self._kernels.rotate_heads(heads, query_heads, angles, (layer.q_norm, layer.k_norm), self._eps)

    def _norm(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return self._kernels.rms_norm(hidden, weight, self._eps, hidden.dtype)

    def _heads(self, states: Tensor) -> Tensor:
        return states.view(len(states), -1, self.head_dim)

    @property
    def _groups(self) -> int:
        return self._config.num_key_value_heads
