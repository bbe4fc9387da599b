"""BERT over unpadded texts, one after another. It knows tensors, not items or requests."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.layers.decoder import Linear
from models.layers.onednn import ACTIVATE, Activation, PrepackedLinear, layers_for
from models.layers.sequence_attention import Rule, SequenceLayout
from models.networks.bert_config import BertConfig
from models.networks.weights import Weights

BOTH_WAYS = Rule(causal=False)


class Bert:
    """The network without its pooler and heads. One thread runs it."""

    def __init__(self, config: BertConfig, weights: Weights) -> None:
        hidden, at = config.hidden_size, "embeddings."
        self._words = weights.take(f"{at}word_embeddings.weight", config.vocab_size, hidden)
        self._positions = weights.take(f"{at}position_embeddings.weight", config.max_position_embeddings, hidden)
        # All tokens of a single text have type 0.
        self._type = weights.take(f"{at}token_type_embeddings.weight", config.type_vocab_size, hidden)[0]
        self._norm = LayerNorm(weights, f"{at}LayerNorm", config)
        self._layers = [BertLayer(config, weights, number) for number in range(config.num_hidden_layers)]

    def __call__(self, tokens: Tensor, positions: Tensor, layout: SequenceLayout, dtype: torch.dtype) -> Tensor:
        """Final states of all tokens, computed with activations of `dtype`.

        Args:
            tokens: ids of the texts, one text after another, int64 [T].
            positions: of each token in its text, int64 [T].
            layout: where each text starts and ends.
            dtype: of the weights, or a wider one.
        Returns: [T, H], of `dtype`.
        """
        embedded = self._words[tokens].to(dtype) + self._type.to(dtype)
        hidden = self._norm(embedded.add_(self._positions[positions]))
        for layer in self._layers:
            hidden = layer(hidden, layout)
        return hidden


class BertLayer:
    """One encoder layer, with query, key and value merged into one product."""

    def __init__(self, config: BertConfig, weights: Weights, number: int) -> None:
        hidden, inner, at = config.hidden_size, config.intermediate_size, f"encoder.layer.{number}."
        self._heads = config.num_attention_heads
        merged = [f"{at}attention.self.{name}" for name in ("query", "key", "value")]
        self._qkv = Dense(weights, merged, hidden, hidden)
        self._attention_output = Dense(weights, [f"{at}attention.output.dense"], hidden, hidden)
        self._attention_norm = LayerNorm(weights, f"{at}attention.output.LayerNorm", config)
        self._up = Dense(weights, [f"{at}intermediate.dense"], inner, hidden, activation="gelu")
        self._down = Dense(weights, [f"{at}output.dense"], hidden, inner)
        self._output_norm = LayerNorm(weights, f"{at}output.LayerNorm", config)

    def __call__(self, hidden: Tensor, layout: SequenceLayout) -> Tensor:
        """States [T, H] after the layer, from those before it."""
        parts = self._qkv(hidden).unflatten(1, (3, self._heads, -1)).unbind(1)
        query, key, value = (part.transpose(0, 1)[None] for part in parts)
        attended = layout.attend(query, key, value, BOTH_WAYS).flatten(1)
        hidden = self._attention_norm(self._attention_output(attended).add_(hidden))
        return self._output_norm(self._down(self._up(hidden)).add_(hidden))


class Dense:
    """A matrix product with bias and activation. Several matrices with the same input are merged into one."""

    def __init__(
        self, weights: Weights, names: list[str], rows: int, columns: int, *, activation: Activation = "none"
    ) -> None:
        all_rows = [rows] * len(names)
        weight = weights.merge([f"{name}.weight" for name in names], all_rows, columns)
        self._bias, self._activation = weights.merge([f"{name}.bias" for name in names], all_rows), activation
        linear, _ = layers_for(weights.device, weights.dtype)
        self._fused = linear is PrepackedLinear
        self._linear: Linear = (
            PrepackedLinear(weight, bias=self._bias, activation=activation) if self._fused else Linear(weight)
        )

    def __call__(self, hidden: Tensor) -> Tensor:
        """[T, columns] -> [T, rows]."""
        if self._fused:
            return self._linear(hidden)
        product = F.linear(hidden, self._linear.weight.to(hidden.dtype), self._bias.to(hidden.dtype))
        return ACTIVATE[self._activation](product)


class LayerNorm:
    """LayerNorm over the last axis, in the dtype of its input."""

    def __init__(self, weights: Weights, name: str, config: BertConfig) -> None:
        self._shape, self._eps = (config.hidden_size,), config.layer_norm_eps
        self._weight, self._bias = (weights.take(f"{name}.{kind}", config.hidden_size) for kind in ("weight", "bias"))

    def __call__(self, hidden: Tensor) -> Tensor:
        """[T, H] -> [T, H]."""
        return F.layer_norm(hidden, self._shape, self._weight.to(hidden.dtype), self._bias.to(hidden.dtype), self._eps)
