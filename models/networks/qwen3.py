"""Qwen3 over a packed batch, which holds each unique token once. It knows tensors, not items or requests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.devices import Staging
from models.layers.attention import Attention, prepare
from models.layers.cpu_attention import KeysValues
from models.layers.decoder import Rotary, rms_norm
from models.layers.onednn import layers_for
from models.networks.packed_network import PackedBatch
from models.networks.qwen3_config import Qwen3Config
from models.networks.weights import TABLE, Weights
from models.packing import AttentionLayout


@dataclass(frozen=True, slots=True)
class Queries:
    """The tokens that a layer computes: their indexes (None: every token), attention and positions."""

    places: Tensor | None
    attention: Attention
    rotary: Rotary


class Qwen3:
    """Implements PackedNetwork."""

    def __init__(self, config: Qwen3Config, weights: Weights, table_rows: int) -> None:
        self.config, self.head_dim = config, config.head_dim
        self.embed_tokens = weights.take(TABLE, table_rows, config.hidden_size)
        self.layer_count = config.num_hidden_layers
        last = self.layer_count - 1
        self.layers = [Layer(config, weights, number, is_last=number == last) for number in range(last + 1)]
        self.norm = weights.take("norm.weight", config.hidden_size)

    def prepare_attention(
        self, layout: AttentionLayout, staging: Staging, dtype: torch.dtype, cached: Sequence[Sequence[KeysValues]]
    ) -> Attention:
        del cached  # each call gets them
        return prepare(layout, staging, dtype, self.head_dim)

    def __call__(self, batch: PackedBatch, dtype: torch.dtype) -> Tensor:
        *_, states = self.steps([batch], dtype)
        assert states is not None, "the last step is that of the last layer"
        return states

    def steps(self, chunks: Sequence[PackedBatch], dtype: torch.dtype) -> Iterator[Tensor | None]:
        hidden = [self.embed_tokens[chunk.tokens].to(dtype) for chunk in chunks]
        rotary = [Rotary.of(chunk.positions, self.config.head_dim, self.config.rope_theta) for chunk in chunks]
        for layer in self.layers[:-1]:
            for number, chunk in enumerate(chunks):
                all_tokens = Queries(None, chunk.attention, rotary[number])
                hidden[number] = layer(hidden[number], all_tokens, rotary[number], chunk)
                yield None
        for number, chunk in enumerate(chunks):
            yield self._last(hidden[number], rotary[number], chunk)

    def _last(self, hidden: Tensor, rotary: Rotary, batch: PackedBatch) -> Tensor:
        """The final states of one chunk, after the last layer and the norm."""
        # No layer follows, so it computes only the tokens whose final states are needed.
        ends = Queries(None, batch.attention, rotary)
        if batch.ends is not None:
            ends = Queries(batch.ends, batch.ends_attention, rotary.at(batch.ends))
        states = self.layers[-1](hidden, ends, rotary, batch)
        return rms_norm(states.float(), self.norm, self.config.rms_norm_eps)


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
