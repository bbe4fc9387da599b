"""Qwen3 over a packed batch, which holds each unique token once. It knows tensors, not items or requests."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.layers.attention import Attention
from models.layers.decoder import Rotary, rms_norm
from models.layers.onednn import layers_for
from models.networks.packed_network import PackedBatch
from models.networks.qwen3_config import Qwen3Config
from models.networks.weights import TABLE, Weights


@dataclass(frozen=True, slots=True)
class Queries:
    """The tokens that a layer computes: their indexes (None: every token), attention and positions."""

    places: Tensor | None
    attention: Attention
    rotary: Rotary


class Qwen3:
    """Implements PackedNetwork."""

    def __init__(self, config: Qwen3Config, weights: Weights, table_rows: int) -> None:
        self._config, self.head_dim = config, config.head_dim
        self.embed_tokens = weights.take(TABLE, table_rows, config.hidden_size)
        last = config.num_hidden_layers - 1
        self.layers = [Layer(config, weights, number, is_last=number == last) for number in range(last + 1)]
        self.norm = weights.take("norm.weight", config.hidden_size)

    def __call__(self, batch: PackedBatch, dtype: torch.dtype) -> Tensor:
        hidden = self.embed_tokens[batch.tokens].to(dtype)
        rotary = Rotary.of(batch.positions, self._config.head_dim, self._config.rope_theta)
        all_tokens = Queries(None, batch.attention, rotary)
        # No layer follows the last one, so it computes only the tokens whose final states are needed.
        ends = all_tokens if batch.ends is None else Queries(batch.ends, batch.ends_attention, rotary.at(batch.ends))
        for layer in self.layers[:-1]:
            hidden = layer(hidden, all_tokens, rotary, batch)
        hidden = self.layers[-1](hidden, ends, rotary, batch)
        return rms_norm(hidden.float(), self.norm, self._config.rms_norm_eps)


class Layer:
    """One decoder layer. q, k and v are merged into one product, gate and up into another."""

    def __init__(self, config: Qwen3Config, weights: Weights, number: int, *, is_last: bool) -> None:
        hidden, inner, at = config.hidden_size, config.intermediate_size, f"layers.{number}."
        linear, gated = layers_for(weights.device, weights.dtype)
        queries, keys = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
        qkv = weights.merge([f"{at}self_attn.{n}_proj.weight" for n in "qkv"], (queries, keys, keys), hidden)
        gate_up = weights.merge([f"{at}mlp.{n}_proj.weight" for n in ("gate", "up")], (inner, inner), hidden)
        # The last layer computes queries for the ends only, but keys and values for all tokens.
        self.qkv_proj = [linear(qkv[:queries]), linear(qkv[queries:])] if is_last else [linear(qkv)]
        self.o_proj = linear(weights.take(f"{at}self_attn.o_proj.weight", hidden, queries))
        self.gate_up_proj = gated(gate_up)
        self.down_proj = linear(weights.take(f"{at}mlp.down_proj.weight", hidden, inner))
        self.q_norm = weights.take(f"{at}self_attn.q_norm.weight", config.head_dim)
        self.k_norm = weights.take(f"{at}self_attn.k_norm.weight", config.head_dim)
        self.input_layernorm = weights.take(f"{at}input_layernorm.weight", hidden)
        self.post_attention_layernorm = weights.take(f"{at}post_attention_layernorm.weight", hidden)
        self._number, self._eps, self._head_dim = number, config.rms_norm_eps, config.head_dim
        self._widths = queries, keys

    def __call__(self, hidden: Tensor, queries: Queries, rotary: Rotary, batch: PackedBatch) -> Tensor:
        """Hidden states [Q, H] of the tokens in `queries`, from those of all tokens, [T, H]."""
        normed = rms_norm(hidden, self.input_layernorm, self._eps)
        if queries.places is not None:
            hidden = hidden[queries.places]
        query, key, value = self._project(normed, queries.places)
        query = queries.rotary(query, self.q_norm, self._eps)
        key = rotary(key, self.k_norm, self._eps)
        if batch.span_to_cache is not None:
            span = slice(*batch.span_to_cache)
            batch.new_cache_entry.append((key[span].clone(), value[span].clone()))
        attended = queries.attention(query, [(key, value), *(prefix[self._number] for prefix in batch.cached)])
        hidden = self.o_proj(attended.flatten(1)).add_(hidden)
        normed = rms_norm(hidden, self.post_attention_layernorm, self._eps)
        return self.down_proj(self.gate_up_proj(normed)).add_(hidden)

    def _project(self, normed: Tensor, places: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        queries, keys = self._widths
        if len(self.qkv_proj) == 1:
            parts = self.qkv_proj[0](normed).split((queries, keys, keys), dim=1)
        else:
            query = self.qkv_proj[0](normed if places is None else normed[places])
            parts = (query, *self.qkv_proj[1](normed).split((keys, keys), dim=1))
        query, key, value = (part.unflatten(1, (-1, self._head_dim)) for part in parts)
        return query, key, value
