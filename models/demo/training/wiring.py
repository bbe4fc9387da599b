"""Layers built by hand, the part both models share: the token table's columns, wires, and marks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from models.demo.training.network import HEAD_DIM, HIDDEN

HEADS = HIDDEN // HEAD_DIM
MARKING = 0
# Columns of the token table that are given up for marks; the teacher's axes put least into the last ones.
WEIGHT, CONSTANT = 255, 254
SEEN, OWN = (253, 252, 251), (250, 249, 248)
UNIT = HIDDEN**-0.5
# In deviations: the most that a token's weight may differ, and what keeps a token of the frame from counting.
LIMIT, SILENT = 6.0, -5.0
# What reaches the tokens after a mark is 4 units in bfloat16: a power of two, so that it cancels units exactly.
SHOWN = 0.41
# A token's logarithm of weight, in these.
DEVIATION = 0.4


@dataclass(frozen=True, slots=True)
class Wire:
    """In every head, number `at` of the query or key reads `column` times `gain`."""

    at: int
    column: int
    gain: float


def slow(head: int, at: int) -> int:
    """The row of a head's at-th number that hardly turns with the position: rope's last pairs first, 0..55."""
    pair, second = divmod(at, 2)
    return head * HEAD_DIM + HEAD_DIM // 2 - 1 - pair + second * (HEAD_DIM // 2)


def wire(weight: Tensor, wires: Iterable[Wire]) -> None:
    """Set a projection's weights in every head."""
    for head in range(HEADS):
        for one in wires:
            weight[slow(head, one.at), one.column] = one.gain


@torch.no_grad()
def blank(settings: Qwen3Config, table: Tensor, weights: Tensor, *, content: int) -> Qwen3Model:
    """A network with a token table, and layers that say nothing yet.

    Args:
        settings: the network's shape.
        table: a unit row for each token, [V, H].
        weights: how much each token should count, as logarithms, in deviations from their mean, [V].
        content: how many of the table's columns are kept; the others are there for marks.
    """
    network = Qwen3Model(settings)
    rows = network.embed_tokens.weight
    rows.copy_(table)
    rows[:, content:] = 0
    rows[:, CONSTANT] = UNIT
    rows[:, WEIGHT] = weights.clamp(-LIMIT, LIMIT) * UNIT
    for layer in network.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, weight in part.named_parameters():
                if name.endswith("proj.weight"):
                    weight.zero_()
    return network


@torch.no_grad()
def still(network: Qwen3Model, tokens: Sequence[int], *, content: int) -> None:
    """Tokens of a frame have no content and hardly count."""
    rows = network.embed_tokens.weight
    rows[list(tokens), :content] = 0
    rows[list(tokens), WEIGHT] = SILENT * UNIT


@torch.no_grad()
def mark(network: Qwen3Model, tokens: Iterable[int]) -> None:
    """Layer one: a head for each marking token, which looks at nothing else once that token has been."""
    attention = network.layers[MARKING].self_attn
    for head, (token, own, seen) in enumerate(zip(tokens, OWN, SEEN, strict=False)):
        network.embed_tokens.weight[token, own] = 4 * UNIT
        attention.q_proj.weight[slow(head, 0), CONSTANT] = 8
        attention.k_proj.weight[slow(head, 0), CONSTANT] = -4
        attention.k_proj.weight[slow(head, 0), own] = 4
        attention.v_proj.weight[head * HEAD_DIM, own] = 1
        attention.o_proj.weight[seen, head * HEAD_DIM] = UNIT * SHOWN


@torch.no_grad()
def copy(network: Qwen3Model, layer: int, *, content: int, gain: float) -> None:
    """Let the values of a layer's attention be the content itself, times `gain`, whatever the heads look at."""
    attention = network.layers[layer].self_attn
    through = torch.diag((torch.arange(HIDDEN) < content).float())
    attention.v_proj.weight.copy_(through)
    attention.o_proj.weight.copy_(through * gain)
