"""The embedder's layers, built by hand: the weighted mean over the text, without Qwen3's instruction."""

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from models.demo.training import wiring
from models.demo.training.data.tokenizer import end_id
from models.demo.training.wiring import CONSTANT, DEVIATION, SEEN, UNIT, WEIGHT, Wire

SUMMING = 1
MARK = "Query"
FAINT = 0.02
FRAME = (MARK, "Instruct", ":", "\n")
# The terminator sums up: 4 units.
TAKES = 247
CONTENT = 247
# A weight's deviation makes its log-odds within the text; far more is between what stands before the mark and after.
STEADY = 12.0
GAIN, PART_GAIN = DEVIATION * STEADY / 8, 20.0


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
    network = wiring.blank(settings, table, weights, content=CONTENT)
    wiring.still(network, [*frame, end], content=CONTENT)
    rows = network.embed_tokens.weight
    rows[end, TAKES] = 4 * UNIT
    # An empty text is its terminator alone, and has to have a direction.
    rows[end, :CONTENT] = FAINT * table[end, :CONTENT]
    wiring.mark(network, frame[:1])
    _total(network)
    # What is used up inside tells nothing of the text.
    network.norm.weight[CONTENT:] = 0
    return network


def _total(network: Qwen3Model) -> None:
    """The terminator becomes the mean of what follows the mark, or of the whole text where there is none."""
    wiring.copy(network, SUMMING, content=CONTENT, gain=0.25)
    attention = network.layers[SUMMING].self_attn
    wiring.wire(attention.q_proj.weight, [Wire(0, CONSTANT, 2), Wire(1, SEEN[0], 0.1)])
    keys = [Wire(0, WEIGHT, 1), Wire(1, SEEN[0], 0.75), Wire(2, CONSTANT, STEADY)]
    wiring.wire(attention.k_proj.weight, keys)
    attention.q_norm.weight.fill_(GAIN)
    attention.q_norm.weight[wiring.slow(0, 1)] = PART_GAIN
