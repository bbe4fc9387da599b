"""The reranker's first weights, built by hand: mark the parts of the frame, sum up each, compare the sums."""

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from models.demo import wiring
from models.demo.network import HEAD_DIM
from models.demo.tokens import FIXED
from models.demo.wiring import ASKED, COLON, CONSTANT, HEADS, SEEN, UNIT, VERDICT, Wire

MARKS = ("<Query", "<Document", "assistant")
FRAME = (*MARKS, "Instruct", "<", ">:", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "\n", "\n\n", "?\n", ".\n")
SUMS = (">:", "\n\n")
QUERY, DOCUMENT, ANSWER = SEEN
# Log-odds between tokens of a part: as the table's own weights have it; far more between the parts.
GAIN, MARK_GAIN = 0.5, 6.0


def _id(tokenizer: Tokenizer, token: str) -> int:
    return int(tokenizer.encode(token, add_special_tokens=False).ids[-1])


def _ask(network: Qwen3Model) -> None:
    # One unit of the second layer's MLP knows the colon after <Document from the two before it.
    mlp = network.layers[1].mlp
    for weight in (mlp.gate_proj.weight[0], mlp.up_proj.weight[0], mlp.down_proj.weight[:, 0]):
        weight.zero_()
    mlp.gate_proj.weight[0, COLON], mlp.gate_proj.weight[0, DOCUMENT] = 4, 4
    mlp.gate_proj.weight[0, CONSTANT], mlp.up_proj.weight[0, CONSTANT] = -22, 2.4
    mlp.down_proj.weight[ASKED, 0] = UNIT


def _compare(network: Qwen3Model) -> None:
    # The last token looks for its own sum; finding it at the colon is the verdict.
    attention = network.layers[-1].self_attn
    for weight in (attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight):
        weight.mul_(0.1)
    same = [Wire(at, at * HEADS, 1) for at in range(22)]
    for head in range(HEADS):
        for one in same:
            for weight in (attention.q_proj.weight, attention.k_proj.weight):
                weight[wiring.slow(head, one.at), one.column + head] = one.gain
        attention.v_proj.weight[head * HEAD_DIM, ASKED] = 1
        attention.o_proj.weight[VERDICT, head * HEAD_DIM] = UNIT * 4
    wiring.wire(attention.q_proj.weight, [Wire(22, CONSTANT, 8)])
    gains = ((ASKED, 5), (QUERY, -1), (DOCUMENT, -3), (ANSWER, -1))
    wiring.wire(attention.k_proj.weight, [Wire(22, column, gain) for column, gain in gains])
    attention.q_norm.weight.fill_(2.5)


@torch.no_grad()
def start(settings: Qwen3Config, table: Tensor, weights: Tensor, tokenizer: Tokenizer) -> Qwen3Model:
    """A network that judges by comparing weighted means, before any training.

    Args:
        settings: the network's shape.
        table: a unit row for each token, [V, H].
        weights: how much each token should count, as standardised logarithms, [V].
        tokenizer: whose frame and answers are marked.
    """
    frame, sums, marks = ([_id(tokenizer, token) for token in group] for group in (FRAME, SUMS, MARKS))
    network = wiring.blank(settings, table, weights, frame, sums)
    rows = network.embed_tokens.weight
    rows[_id(tokenizer, ">:"), COLON] = 4 * UNIT
    # Apart from the verdict the two answers are alike, so that what a document is about does not lean to either.
    rows[FIXED["yes"]] = rows[FIXED["no"]]
    rows[FIXED["yes"], VERDICT], rows[FIXED["no"], VERDICT] = 0.4, -0.4
    wiring.mark(network, marks)
    # The last token sums up what is after <Document; the colon after <Document what is after <Query.
    asks = [Wire(1, QUERY, 0.25), Wire(2, ANSWER, 0.25), Wire(3, ANSWER, -0.25)]
    keys = [Wire(1, QUERY, 0.75), Wire(2, DOCUMENT, 0.75), Wire(3, ANSWER, 0.75)]
    wiring.mean(network, asks, keys, gain=GAIN)
    for at in (1, 2, 3):
        network.layers[1].self_attn.q_norm.weight[wiring.slow(0, at)] = MARK_GAIN
    _ask(network)
    _compare(network)
    return network
