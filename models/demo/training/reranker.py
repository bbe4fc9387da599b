"""The reranker's prompt, and its two spellings of each answer."""

import torch
from transformers import Qwen3Model

from models.demo.training.data.tokenizer import FIXED

# Qwen3-Reranker model card, "Transformers usage".
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


@torch.no_grad()
def finish(network: Qwen3Model) -> None:
    """Make "Yes" and "No" answer as "yes" and "no" do."""
    table = network.embed_tokens.weight
    table[FIXED["Yes"]] = table[FIXED["yes"]]
    table[FIXED["No"]] = table[FIXED["no"]]
