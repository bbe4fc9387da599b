"""The embedder's layers, built by hand: the weighted mean over the text, without Qwen3's instruction."""

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from models.demo import wiring
from models.demo.tokens import end_id
from models.demo.wiring import CONTENT

SUMMING = 1
MARK = "Query"
FAINT = 0.02
FRAME = (MARK, "Instruct", ":", "\n")


@torch.no_grad()
def start(settings: Qwen3Config, table: Tensor, weights: Tensor, tokenizer: Tokenizer) -> Qwen3Model:
    """A network whose last token is the weighted mean of the text, or of what stands after "Query".

    Args:
        settings: the network's shape.
        table: a unit row for each token, [V, H].
        weights: how much each token should count, as logarithms, in deviations from their mean, [V].
        tokenizer: whose terminator sums up.
    """
    frame = [int(tokenizer.encode(token, add_special_tokens=False).ids[-1]) for token in FRAME]
    end = end_id(tokenizer)
    network = wiring.blank(settings, table, weights)
    wiring.still(network, frame, sums=[end], null=[])
    # An empty text is its terminator alone, and has to have a direction.
    network.embed_tokens.weight[end, :CONTENT] = FAINT * table[end, :CONTENT]
    wiring.mark(network, frame[:1])
    wiring.total(network, SUMMING)
    # What is used up inside tells nothing of the text.
    network.norm.weight[CONTENT:] = 0
    return network
