"""The reranker's layers, built by hand: mark the parts of the frame, sum up query and document, compare the sums."""

import math

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from models.demo import wiring
from models.demo.network import HEAD_DIM
from models.demo.tokens import FIXED
from models.demo.wiring import ASKED, COLON, COMPARING, CONSTANT, HEADS, MARKING, SEEN, UNIT, VERDICT

MARKS = ("<Query", "<Document", "assistant")
FRAME = (*MARKS, "Instruct", "<", ">:", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "\n", "\n\n", "?\n", ".\n")
SUMS = (">:", "\n\n")
QUERY, DOCUMENT, ANSWER = SEEN
# What marking writes for each part that has begun, and the mark of the colon that sums up the query, in units.
BEGUN, CHOSEN = 3.72, 4.16
# How many numbers of the sums each head compares; the next says where to look.
COMPARED = 59
# A head's log-odds between a cosine of 0 and of 1; the cosine at which it is undecided; its share of places, not words.
SLOPE, EVEN, PLACE = 9.0, 0.08, 0.8
PLACE_GAIN, PART, WORTH = 17.0, 120.0, 0.6
# About how many tokens, those before the query, stand for "not alike".
BEFORE = 60


def _id(tokenizer: Tokenizer, token: str) -> int:
    return int(tokenizer.encode(token, add_special_tokens=False).ids[-1])


def _ask(network: Qwen3Model) -> None:
    # One unit of the first layer's MLP knows the colon after <Document from the two before it.
    mlp = network.layers[MARKING].mlp
    mlp.gate_proj.weight[0, COLON], mlp.gate_proj.weight[0, DOCUMENT] = 4, 4
    mlp.gate_proj.weight[0, CONSTANT], mlp.up_proj.weight[0, CONSTANT] = -22, 2.4
    mlp.down_proj.weight[ASKED, 0] = UNIT * 4 / 75


def _compare(network: Qwen3Model) -> None:
    # The last token looks for its own sum; as far as it finds it at the colon, and not before the query, it says yes.
    attention = network.layers[COMPARING].self_attn
    ask, key, value, out = (getattr(attention, f"{name}_proj").weight for name in "qkvo")
    never = (EVEN * math.sqrt(1 - PLACE**2) - math.log(BEFORE) / SLOPE) / PLACE
    aside = math.sqrt(1 - never**2)
    for head in range(HEADS):
        for at in range(COMPARED):
            ask[wiring.slow(head, at), at * HEADS + head] = 1
            key[wiring.slow(head, at), at * HEADS + head] = 1
        # The first row turns fast: it only takes a share of the key's length, and no query has anything there.
        place, other = wiring.slow(head, COMPARED), head * HEAD_DIM
        ask[place, CONSTANT] = PLACE_GAIN
        key[place, CONSTANT], key[place, QUERY] = PART * never, -PART * (1 + never) / BEGUN
        key[place, ASKED], key[place, ANSWER] = PART / CHOSEN, -PART
        key[other, CONSTANT], key[other, QUERY] = PART * aside, -PART * aside / BEGUN
        value[head * HEAD_DIM, ASKED], value[head * HEAD_DIM, CONSTANT] = 0.32, -0.5
        out[VERDICT, head * HEAD_DIM] = WORTH
    attention.q_norm.weight.fill_(math.sqrt(SLOPE / 8))
    attention.k_norm.weight.fill_(math.sqrt(SLOPE / 8))


@torch.no_grad()
def start(settings: Qwen3Config, table: Tensor, weights: Tensor, tokenizer: Tokenizer) -> Qwen3Model:
    """A network that judges by comparing weighted means, before any training.

    Args:
        settings: the network's shape.
        table: a unit row for each token, [V, H].
        weights: how much each token should count, as logarithms, in deviations from their mean, [V].
        tokenizer: whose frame and answers are marked.
    """
    frame, sums, marks = ([_id(tokenizer, token) for token in group] for group in (FRAME, SUMS, MARKS))
    network = wiring.blank(settings, table, weights)
    wiring.still(network, frame, sums)
    rows = network.embed_tokens.weight
    rows[_id(tokenizer, ">:"), COLON] = 4 * UNIT
    # Apart from the verdict the two answers are alike, so that what a document is about does not lean to either.
    rows[FIXED["yes"]] = rows[FIXED["no"]]
    rows[FIXED["yes"], VERDICT], rows[FIXED["no"], VERDICT] = 0.4, -0.4
    wiring.mark(network, marks)
    wiring.total(network)
    _ask(network)
    _compare(network)
    return network
