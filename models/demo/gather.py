"""The embedder's first weights, built by hand: the weighted mean over the text, without Qwen3's instruction."""

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from models.demo import wiring
from models.demo.tokens import end_id
from models.demo.wiring import CONTENT, SEEN, Wire

MARK = "Query"
FRAME = (MARK, "Instruct", ":", "\n")
# Log-odds between tokens: as the table's own weights have it, and far more for what stands after the mark.
GAIN, MARK_GAIN = 0.4, 5.0


@torch.no_grad()
def start(settings: Qwen3Config, table: Tensor, weights: Tensor, tokenizer: Tokenizer) -> Qwen3Model:
    """A network whose last token is the weighted mean of the text, or of what stands after "Query".

    Args:
        settings: the network's shape.
        table: a unit row for each token, [V, H].
        weights: how much each token should count, as standardised logarithms, [V].
        tokenizer: whose terminator sums up.
    """
    frame = [int(tokenizer.encode(token, add_special_tokens=False).ids[-1]) for token in FRAME]
    end = end_id(tokenizer)
    network = wiring.blank(settings, table, weights, [*frame, end], [end])
    wiring.mark(network, frame[:1])
    wiring.mean(network, [Wire(1, SEEN[0], 0.25)], [Wire(1, SEEN[0], 0.75)], gain=GAIN)
    network.layers[1].self_attn.q_norm.weight[wiring.slow(0, 1)] = MARK_GAIN
    # What is used up inside tells nothing of the text.
    network.norm.weight[CONTENT:] = 0
    return network
