"""First weights built by hand, the part both models share: marks, and a weighted mean over the text."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from models.demo.network import HEAD_DIM, HIDDEN

HEADS = HIDDEN // HEAD_DIM
# Columns of the token table that are given up for marks; the teacher's axes put least into the last ones.
WEIGHT, CONSTANT, COLON, VERDICT = 255, 254, 253, 252
SEEN, OWN = (251, 250, 249), (248, 247, 246)
ASKED = 245
CONTENT = 245
UNIT = HIDDEN**-0.5
QUIET = 0.05


@dataclass(frozen=True, slots=True)
class Wire:
    """In every head, number `at` of the query or key reads `column` times `gain`."""

    at: int
    column: int
    gain: float


def slow(head: int, at: int) -> int:
    """The row of a head's at-th number that hardly turns with the position: rope's last twelve pairs, 0..23."""
    pair, second = divmod(at, 2)
    return head * HEAD_DIM + HEAD_DIM // 2 - 1 - pair + second * (HEAD_DIM // 2)


def wire(weight: Tensor, wires: Iterable[Wire]) -> None:
    """Set a projection's weights in every head."""
    for head in range(HEADS):
        for one in wires:
            weight[slow(head, one.at), one.column] = one.gain


@torch.no_grad()
def blank(
    settings: Qwen3Config, table: Tensor, weights: Tensor, silent: Iterable[int], empty: Iterable[int]
) -> Qwen3Model:
    """A network with a token table, and layers that say next to nothing yet.

    Args:
        settings: the network's shape.
        table: a unit row for each token, [V, H].
        weights: how much each token should count, as standardised logarithms, [V].
        silent: tokens of a frame, which should not count.
        empty: tokens that will sum up; their own rows would be summed too.
    """
    network = Qwen3Model(settings)
    # torch 2.13 on a CPU: backward through sdpa's kernel takes longer than all the rest together.
    network.set_attn_implementation("eager")
    rows = network.embed_tokens.weight
    rows.copy_(table)
    rows[:, CONTENT:] = 0
    rows[:, CONSTANT] = UNIT
    rows[:, WEIGHT] = weights.clamp(-3.5, 3) * UNIT
    rows[list(silent), WEIGHT] = -5 * UNIT
    rows[list(empty), :CONTENT] *= 0.1
    for layer in network.layers:
        layer.self_attn.o_proj.weight.mul_(QUIET)
        layer.mlp.down_proj.weight.mul_(QUIET)
    return network


@torch.no_grad()
def mark(network: Qwen3Model, tokens: Iterable[int]) -> None:
    """Layer one: a head for each marking token, which looks at nothing else once that token has been."""
    attention = network.layers[0].self_attn
    for weight in (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight):
        weight.mul_(QUIET)
    for head, (token, own, seen) in enumerate(zip(tokens, OWN, SEEN, strict=False)):
        network.embed_tokens.weight[token, own] = 4 * UNIT
        attention.q_proj.weight[slow(head, 0), CONSTANT] = 8
        attention.k_proj.weight[slow(head, 0), CONSTANT] = -4
        attention.k_proj.weight[slow(head, 0), own] = 4
        attention.v_proj.weight[head * HEAD_DIM, own] = 1
        attention.o_proj.weight[seen, head * HEAD_DIM] = UNIT


@torch.no_grad()
def mean(network: Qwen3Model, asks: Iterable[Wire], keys: Iterable[Wire], *, gain: float) -> None:
    """Layer two: values pass unchanged, so that a token becomes the mean of what its query picks."""
    attention = network.layers[1].self_attn
    for weight in (attention.q_proj.weight, attention.k_proj.weight):
        weight.mul_(QUIET)
    through = torch.diag((torch.arange(HIDDEN) < CONTENT).float())
    attention.v_proj.weight.copy_(through)
    attention.o_proj.weight.copy_(through / 4)
    wire(attention.q_proj.weight, [Wire(0, CONSTANT, 2), *asks])
    wire(attention.k_proj.weight, [Wire(0, WEIGHT, 1), Wire(4, CONSTANT, 6), *keys])
    attention.q_norm.weight.fill_(gain)
