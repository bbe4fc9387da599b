"""The reranker's layers, built by hand: mark the parts of the frame, sum up query and document, compare the sums."""

import math

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from models.demo import wiring
from models.demo.network import HEAD_DIM
from models.demo.tokens import FIXED
from models.demo.wiring import ASKED, COLON, CONSTANT, HEADS, MARKING, SEEN, TAKES, UNIT, VERDICT, WEIGHT, Wire

ASKING, MATCHING, SUMMING, COMPARING = range(1, 5)
MARKS = ("<Query", "<Document", "assistant")
FRAME = (*MARKS, "Instruct", "<", "<|im_end|>", "<think>", "</think>", "\n", "?\n", ".\n")
SUMS = (">:", "\n\n")
NULL = "<|im_start|>"
_, DOCUMENT, ANSWER = SEEN
# The mark that the colon after <Document gets, in units; the MLP's unit gives that with this weight.
CHOSEN, CHOOSING = 3.39, 4 / 75
# How many numbers each head compares; the next says where to look: at the chosen colon or at the null token.
COMPARED = 59
# What share of a comparison the place has; how strongly all other places are ruled out.
PLACE, RULED_OUT = 0.9, 32.0
# The cosine at which a word counts as half matched, and the deviations of weight that a match adds in each head.
MATCHES, MATCH = 0.3, 0.4
# The verdict: log-odds between cosines of 0 and 1, the cosine at which it is undecided, and what a head's finding adds.
SLOPE, EVEN, WORTH = 3.0, 0.15, 1.0


def _id(tokenizer: Tokenizer, token: str) -> int:
    return int(tokenizer.encode(token, add_special_tokens=False).ids[-1])


def _choose(network: Qwen3Model) -> None:
    # One unit of the first layer's MLP knows the colon after <Document from the two before it.
    mlp = network.layers[MARKING].mlp
    mlp.gate_proj.weight[0, COLON], mlp.gate_proj.weight[0, DOCUMENT] = 4, 4
    mlp.gate_proj.weight[0, CONSTANT], mlp.up_proj.weight[0, CONSTANT] = -22, 2.4
    mlp.down_proj.weight[ASKED, 0] = UNIT * CHOOSING


def _seek(network: Qwen3Model, layer: int, *, slope: float, even: float, steady: float, nulls: int) -> None:
    """Let tokens look at the chosen colon as far as its sum is like their own content, else at the null token.

    `slope`: log-odds between cosines of 0 and 1, in a head. `even`: the cosine that is even odds. `steady`: what makes
    the place `PLACE` of a query's length, whose content has about the usual length. `nulls`: how many null tokens
    have been.
    """
    attention = network.layers[layer].self_attn
    ask, key = attention.q_proj.weight, attention.k_proj.weight
    share = math.sqrt(1 - PLACE**2)
    never = (even - math.log(nulls) / slope) * share / PLACE
    aside = math.sqrt(1 - never**2)
    for head in range(HEADS):
        for at in range(COMPARED):
            ask[wiring.slow(head, at), at * HEADS + head] = 1
            key[wiring.slow(head, at), at * HEADS + head] = 1
        # The first row turns fast: it only takes a share of the key's length, and no query has anything there.
        place, other = wiring.slow(head, COMPARED), head * HEAD_DIM
        ask[place, CONSTANT] = steady
        key[place, CONSTANT], key[place, TAKES] = -RULED_OUT, -RULED_OUT * (1 + never) / 4
        key[other, TAKES] = -RULED_OUT * aside / 4
        # The colon takes as well; its mark makes up for all that.
        key[place, ASKED] = RULED_OUT * (2 + never) / CHOSEN
        key[other, ASKED] = RULED_OUT * aside / CHOSEN
    for norm in (attention.q_norm.weight, attention.k_norm.weight):
        norm.fill_(math.sqrt(slope / share / 8))


def _match(network: Qwen3Model) -> None:
    # A word that is like what is asked counts for more.
    _seek(network, MATCHING, slope=5.0, even=MATCHES, steady=16.5, nulls=2)
    attention = network.layers[MATCHING].self_attn
    for head in range(HEADS):
        attention.v_proj.weight[head * HEAD_DIM, ASKED] = 1
        attention.o_proj.weight[WEIGHT, head * HEAD_DIM] = MATCH * UNIT


def _compare(network: Qwen3Model) -> None:
    # The last token looks for its own sum; as far as it finds it at the colon, it says yes.
    _seek(network, COMPARING, slope=SLOPE, even=EVEN, steady=23.8, nulls=3)
    attention = network.layers[COMPARING].self_attn
    for head in range(HEADS):
        attention.v_proj.weight[head * HEAD_DIM, ASKED] = 0.41
        attention.v_proj.weight[head * HEAD_DIM, CONSTANT] = -0.2
        attention.o_proj.weight[VERDICT, head * HEAD_DIM] = WORTH


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
    wiring.still(network, frame, sums, null=[_id(tokenizer, NULL)])
    rows = network.embed_tokens.weight
    rows[_id(tokenizer, ">:"), COLON] = 4 * UNIT
    # Apart from the verdict the two answers are alike, so that what a document is about does not lean to either.
    rows[FIXED["yes"]] = rows[FIXED["no"]]
    rows[FIXED["yes"], VERDICT], rows[FIXED["no"], VERDICT] = 0.4, -0.4
    wiring.mark(network, marks)
    _choose(network)
    wiring.total(network, ASKING)
    # The document's sum has to wait for the matches.
    wiring.wire(network.layers[ASKING].self_attn.q_proj.weight, [Wire(5, ANSWER, 0.53)])
    _match(network)
    wiring.total(network, SUMMING)
    _compare(network)
    # As it will be stored: what is trained on top makes up for the rounding.
    network.to(torch.bfloat16).to(torch.float32)
    return network
