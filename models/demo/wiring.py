"""Layers built by hand, the part both models share: marks, and a weighted mean."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from models.demo.network import HEAD_DIM, HIDDEN

HEADS = HIDDEN // HEAD_DIM
MARKING = 0
# Columns of the token table that are given up for marks; the teacher's axes put least into the last ones.
WEIGHT, CONSTANT, COLON, VERDICT = 255, 254, 253, 252
SEEN, OWN = (251, 250, 249), (248, 247, 246)
ASKED = 245
# Which tokens sum up: 4 units; and which says nothing, so that the others may look at it: -4.
TAKES = 244
CONTENT = 244
UNIT = HIDDEN**-0.5
# In deviations: the most that a token's weight may differ, and what keeps a token of the frame from counting.
LIMIT, SILENT = 4.0, -5.0
# How much of a mark reaches the tokens after it: about 3.7 units.
SHOWN = 0.38
# A token's logarithm of weight, in these, makes its log-odds within a part; far more is between the parts.
DEVIATION, STEADY = 0.4, 12.0
GAIN, PART_GAIN, NULL_GAIN = DEVIATION * STEADY / 8, 20.0, 8.0


@dataclass(frozen=True, slots=True)
class Wire:
    """In every head, number `at` of the query or key reads `column` times `gain`."""

    at: int
    column: int
    gain: float


def slow(head: int, at: int) -> int:
    """The row of a head's at-th number that hardly turns with the position: rope's last pairs first, 0..59."""
    pair, second = divmod(at, 2)
    return head * HEAD_DIM + HEAD_DIM // 2 - 1 - pair + second * (HEAD_DIM // 2)


def wire(weight: Tensor, wires: Iterable[Wire]) -> None:
    """Set a projection's weights in every head."""
    for head in range(HEADS):
        for one in wires:
            weight[slow(head, one.at), one.column] = one.gain


@torch.no_grad()
def blank(settings: Qwen3Config, table: Tensor, weights: Tensor) -> Qwen3Model:
    """A network with a token table, and layers that say nothing yet.

    Args:
        settings: the network's shape.
        table: a unit row for each token, [V, H].
        weights: how much each token should count, as logarithms, in deviations from their mean, [V].
    """
    network = Qwen3Model(settings)
    rows = network.embed_tokens.weight
    rows.copy_(table)
    rows[:, CONTENT:] = 0
    rows[:, CONSTANT] = UNIT
    rows[:, WEIGHT] = weights.clamp(-LIMIT, LIMIT) * UNIT
    for layer in network.layers:
        for part in (layer.self_attn, layer.mlp):
            for name, weight in part.named_parameters():
                if name.endswith("proj.weight"):
                    weight.zero_()
    return network


@torch.no_grad()
def still(network: Qwen3Model, silent: Sequence[int], sums: Sequence[int], null: Sequence[int]) -> None:
    """Tokens of a frame: they have no content and hardly count; some sum up, others are there to be looked at."""
    rows = network.embed_tokens.weight
    frame = [*silent, *sums, *null]
    rows[frame, :CONTENT] = 0
    rows[frame, WEIGHT] = SILENT * UNIT
    rows[list(sums), TAKES] = 4 * UNIT
    rows[list(null), TAKES] = -4 * UNIT


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
def total(network: Qwen3Model, layer: int) -> None:
    """Values pass unchanged: a token that takes becomes the mean of its part, and others look at the null token.

    Without marks the part is the whole text; after the first mark what follows it; after the third what the second and
    third enclose.
    """
    attention = network.layers[layer].self_attn
    through = torch.diag((torch.arange(HIDDEN) < CONTENT).float())
    attention.v_proj.weight.copy_(through)
    attention.o_proj.weight.copy_(through / 4)
    query, document, answer = SEEN
    asks = [
        Wire(1, query, 0.1),
        Wire(2, answer, 0.1),
        Wire(3, answer, -0.1),
        Wire(5, CONSTANT, 2),
        Wire(5, TAKES, -0.5),
    ]
    keys = [Wire(1, query, 0.75), Wire(2, document, 0.75), Wire(3, answer, 0.75), Wire(5, TAKES, -1)]
    wire(attention.q_proj.weight, [Wire(0, CONSTANT, 2), *asks])
    wire(attention.k_proj.weight, [Wire(0, WEIGHT, 1), Wire(4, CONSTANT, STEADY), *keys])
    attention.q_norm.weight.fill_(GAIN)
    for at in (1, 2, 3):
        attention.q_norm.weight[slow(0, at)] = PART_GAIN
    attention.q_norm.weight[slow(0, 5)] = NULL_GAIN
