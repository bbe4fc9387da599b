"""The official procedures, written plainly with transformers: one text at a time, float32, nothing shared.

Embedder: Qwen3-Embedding README, "Transformers usage". Reranker: Qwen3-Reranker README, "Transformers usage".
Each takes the faults that a server may have, so that tests can show that they would be noticed.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

Matrix = NDArray[np.float64]
# What the network is told beside its ids.
Extra = Callable[[int], dict[str, Any]]


def nothing(length: int) -> dict[str, Any]:
    """The network as it is."""
    return {}


def positions_restarted(length: int) -> dict[str, Any]:
    """A fault: the second half of the text begins at position 0 again."""
    half = length // 2
    return {"position_ids": torch.cat((torch.arange(half), torch.arange(length - half)))[None]}


def no_causal_mask(length: int) -> dict[str, Any]:
    """A fault: every token sees every other."""
    return {"attention_mask": torch.zeros(1, 1, length, length)}


def first_half_unseen(length: int) -> dict[str, Any]:
    """A fault: a shared beginning that the rest does not attend to."""
    mask = torch.full((length, length), float("-inf")).triu(1)
    mask[length // 2 :, : length // 2] = float("-inf")
    return {"attention_mask": mask[None, None]}


@cache
def embed(folder: Path, text: str, *, terminator: bool = True, extra: Extra = nothing) -> Matrix:
    """The text's raw vector: the state after the final norm at the last token, which is the terminator."""
    ids = _tokenizer(folder)(text)["input_ids"]
    ids = ids if terminator else ids[:-1]
    with torch.inference_mode():
        states = _network(folder, AutoModel)(torch.tensor([ids]), **extra(len(ids))).last_hidden_state
    return states[0, -1].double().numpy()


@cache
def logits(
    folder: Path,
    query: str,
    document: str,
    *,
    prefix: str = PREFIX,
    suffix: str = SUFFIX,
    between: str = "\n",
    extra: Extra = nothing,
) -> Matrix:
    """The logits of "no" and "yes" after the official prompt."""
    tokenizer = _tokenizer(folder)
    body = between.join((f"<Instruct>: {INSTRUCTION}", f"<Query>: {query}", f"<Document>: {document}"))
    ids = [token for part in (prefix, body, suffix) for token in tokenizer.encode(part, add_special_tokens=False)]
    with torch.inference_mode():
        found = _network(folder, AutoModelForCausalLM)(torch.tensor([ids]), **extra(len(ids))).logits[0, -1]
    return found[ids_of(folder, "no", "yes")].double().numpy()


def score(folder: Path, query: str, document: str, **faults: Any) -> float:
    """The probability of "yes": softmax over the logits of "no" and "yes", in float32."""
    pair = torch.tensor(logits(folder, query, document, **faults), dtype=torch.float32)
    return float(torch.softmax(pair, dim=0)[1])


def ids_of(folder: Path, *words: str) -> list[int]:
    """The ids of words that are one token each, as a user would look them up."""
    return list(_tokenizer(folder).convert_tokens_to_ids(list(words)))


@cache
def _tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


@cache
def _network(folder: Path, kind: Any) -> Any:
    return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
