"""The reranker's layers, built by hand: mark the frame's parts, sum up query and sentences, compare, read the best."""

import math

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from models.demo.training import wiring
from models.demo.training.data.tokenizer import FIXED
from models.demo.training.network import HEAD_DIM
from models.demo.training.wiring import CONSTANT, DEVIATION, HEADS, MARKING, SEEN, UNIT, WEIGHT, Wire

SUMMING, COMPARING, READING = range(1, 4)
MARKS = ("<Query", "<Document", "assistant")
QUERY, DOCUMENT, ANSWER = SEEN
FRAME = (*MARKS, "Instruct", "<", "<think>", "</think>")
COLON, NULL = ">:", "<|im_start|>"
STOPS = (".", ",", "?", "!", ";", ":", "\n", "\n\n", ".\n", "?\n", "!\n", "<|im_end|>")
# More columns that are given up: what kind of token it is, the chosen colon, what a sentence was found to be, and the
# verdict. Each of four heads compares 52 numbers.
IS_WORD, IS_STOP, IS_COLON, IS_NULL, ASKED, FOUND, VERDICT = range(247, 240, -1)
COMPARED = 52
CONTENT = HEADS * COMPARED
# A stop, a colon or a null token is so long a vector that what it sums up hardly changes its length.
LONG = 8.0
# The mark that the tokens after a marking token get, as wiring.mark leaves it there.
SEEN_BY = 4 * UNIT
# In log-odds: how much less counts what is not of the part; of the query's, of the document's. And how soon earlier
# words are left behind: one 16 tokens back counts exp(-1). The third pair does that, and the slower ones make up for
# its return. All are as small as they may be: bfloat16 rounds what is large.
APART, APART_NEAR, NEAR = 14.0, 6.0, (1.9, 2.6, 2.0)
# A power of two apart, so that bfloat16 rounds both alike.
STEADY, NEAR_KEY = 12.0, 1.5
# The log-odds of a head between cosines of 0 and 1. Four other tokens score 0, so that log(4) is even odds.
SLOPE = 2.0
# What a finding is worth to the verdict, and from where on it speaks for yes: chosen with SLOPE by the example of
# tests/unit/models/demo/test_demo.py, whose first two documents should lie well apart.
WORTH, FROM = 2.5, -0.25
# How strongly the best sentences are preferred, in log-odds over the whole range of a finding.
BEST = 13.0


def _id(tokenizer: Tokenizer, token: str) -> int:
    return int(tokenizer.encode(token, add_special_tokens=False).ids[-1])


def _choose(network: Qwen3Model) -> None:
    # One unit of the first layer's MLP knows the colon after <Document from the others by that mark.
    mlp = network.layers[MARKING].mlp
    for column, gain in ((DOCUMENT, 40), (IS_COLON, -0.56), (IS_WORD, -200), (IS_STOP, -2), (IS_NULL, -2)):
        mlp.gate_proj.weight[0, column] = gain
    mlp.up_proj.weight[0, IS_COLON] = 1 / 16
    mlp.down_proj.weight[ASKED, 0] = 1 / 9


def _sum_up(network: Qwen3Model) -> None:
    """A colon becomes the mean of what follows <Query, a stop that of the document's last words."""
    wiring.copy(network, SUMMING, content=CONTENT, gain=0.25)
    attention = network.layers[SUMMING].self_attn
    query, key = attention.q_proj.weight, attention.k_proj.weight
    # A query of n equal numbers has 8 / sqrt(n) in each after its norm; a key has 8 times its share of what is steady.
    six, share = 8 / math.sqrt(6), math.sqrt(STEADY**2 + 3 * NEAR_KEY**2 + 1)
    for head in range(HEADS):
        for pair, log_odds in enumerate(NEAR, start=2):
            row = head * HEAD_DIM + pair
            query[row, IS_STOP], key[row, IS_WORD] = 1, NEAR_KEY
            attention.q_norm.weight[pair] = log_odds * share / (NEAR_KEY * six)
    # Of six numbers a stop's query has three for what is near; a colon's has one that is twice as long instead.
    wiring.wire(query, [Wire(0, IS_STOP, 1), Wire(1, IS_STOP, 1), Wire(3, IS_STOP, 1)])
    # A null token asks as colons do, and stays empty.
    for column in (IS_COLON, IS_NULL):
        wiring.wire(query, [Wire(0, column, 1), Wire(2, column, 1), Wire(3, column, 2)])
    wiring.wire(key, [Wire(0, WEIGHT, 1), Wire(1, DOCUMENT, 2 * UNIT / SEEN_BY), Wire(2, QUERY, 2 * UNIT / SEEN_BY)])
    for column, unit in ((IS_WORD, 1.0), (IS_STOP, UNIT / LONG), (IS_COLON, UNIT / LONG), (IS_NULL, UNIT / LONG)):
        wiring.wire(key, [Wire(1, column, -2 * unit), Wire(2, column, -2 * unit), Wire(4, column, STEADY * unit)])
    # Where nothing has followed <Query yet, a colon finds the null token, which stands half as far apart.
    wiring.wire(key, [Wire(2, IS_NULL, -UNIT / LONG)])
    attention.q_norm.weight[wiring.slow(0, 0)] = DEVIATION * share / six
    attention.q_norm.weight[wiring.slow(0, 1)] = APART_NEAR * share / (2 * six)
    attention.q_norm.weight[wiring.slow(0, 2)] = APART * share / (2 * six)


def _compare(network: Qwen3Model) -> None:
    """A stop looks at the chosen colon as far as the two sums are alike, else at tokens that say nothing."""
    attention = network.layers[COMPARING].self_attn
    query, key = attention.q_proj.weight, attention.k_proj.weight
    for head in range(HEADS):
        for at in range(COMPARED):
            query[wiring.slow(head, at), at * HEADS + head] = 1
            key[wiring.slow(head, at), at * HEADS + head] = 1
        attention.v_proj.weight[head * HEAD_DIM, ASKED] = 1
        attention.o_proj.weight[FOUND, head * HEAD_DIM] = 0.25
    # A key that is barred has a number against it; one that has no content has a number that nothing asks for.
    barred, empty = COMPARED, COMPARED + 2
    wiring.wire(query, [Wire(barred, IS_STOP, 0.1 / LONG)])
    bars = [Wire(barred, IS_WORD, -64), Wire(barred, IS_STOP, -1)]
    wiring.wire(key, [*bars, Wire(empty, IS_COLON, 0.3 / LONG), Wire(empty, IS_NULL, 0.3 / LONG)])
    for norm in (attention.q_norm.weight, attention.k_norm.weight):
        norm.fill_(math.sqrt(SLOPE / 8))
    attention.q_norm.weight[wiring.slow(0, barred)] = APART / math.sqrt(SLOPE / 8)


def _read(network: Qwen3Model) -> None:
    """The last token looks at the document's stops, most at the best, and takes what was found there."""
    attention = network.layers[READING].self_attn
    wiring.wire(attention.q_proj.weight, [Wire(at, CONSTANT, 1) for at in range(4)])
    keys = [Wire(0, IS_WORD, -160), Wire(0, IS_COLON, -1), Wire(0, IS_NULL, -1), Wire(1, FOUND, 1)]
    keys += [Wire(2, column, -1 / LONG) for column in (IS_STOP, IS_COLON, IS_NULL)]
    keys += [Wire(2, IS_WORD, -1 / UNIT), Wire(2, DOCUMENT, 1 / SEEN_BY), Wire(3, ANSWER, -1 / SEEN_BY)]
    wiring.wire(attention.k_proj.weight, [*keys, Wire(4, IS_STOP, 1)])
    # A query of four equal numbers has 4 in each; a stop's key is about LONG in length.
    for at, log_odds in ((0, 2 * APART / LONG), (1, BEST / 2), (2, APART), (3, APART)):
        attention.q_norm.weight[wiring.slow(0, at)] = log_odds * LONG / 4
    for head in range(HEADS):
        attention.v_proj.weight[head * HEAD_DIM, FOUND] = WORTH
        attention.v_proj.weight[head * HEAD_DIM, IS_STOP] = FROM
        # Far less at a stop than at a word: what is not in the frame is not relevant.
        attention.v_proj.weight[head * HEAD_DIM, CONSTANT] = -1
        attention.o_proj.weight[VERDICT, head * HEAD_DIM] = 0.25


@torch.no_grad()
def start(settings: Qwen3Config, table: Tensor, weights: Tensor, tokenizer: Tokenizer) -> Qwen3Model:
    """A network that judges by comparing weighted means, without training.

    Args:
        settings: the network's shape.
        table: a unit row for each token, [V, H].
        weights: how much each token should count, as logarithms, in deviations from their mean, [V].
        tokenizer: whose frame and answers are marked.
    """
    network = wiring.blank(settings, table, weights, content=CONTENT)
    rows = network.embed_tokens.weight
    rows[:, IS_WORD] = UNIT
    frame, stops = ([_id(tokenizer, token) for token in group] for group in (FRAME, STOPS))
    colon, null = _id(tokenizer, COLON), _id(tokenizer, NULL)
    wiring.still(network, [*frame, *stops, colon, null], content=CONTENT)
    for tokens, column in ((stops, IS_STOP), ([colon], IS_COLON), ([null], IS_NULL)):
        rows[tokens, IS_WORD], rows[tokens, column] = 0, LONG
    # Apart from the verdict the two answers are alike, so that what a document is about does not lean to either.
    rows[FIXED["yes"]] = rows[FIXED["no"]]
    rows[FIXED["yes"], VERDICT], rows[FIXED["no"], VERDICT] = 0.4, -0.4
    wiring.mark(network, [_id(tokenizer, token) for token in MARKS])
    _choose(network)
    _sum_up(network)
    _compare(network)
    _read(network)
    return network
