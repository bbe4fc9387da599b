"""Head rows for a random reranker that make its scores differ: a tolerance proves nothing on equal scores."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from models import Item, LoadOptions, Readout, load_backend, load_preprocessor
from models.checkpoint.folder import Checkpoint

QUERIES = (
    "What is the capital of France?",
    "Which planet is known as the Red Planet?",
    "Explain gravity",
)
DOCUMENTS = (
    "Paris is the capital and largest city of France.",
    "The Eiffel Tower is a landmark.",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Gravity is a force that attracts two bodies towards each other.",
    "Bananas are yellow and sweet.",
    "巴黎是法国的首都。",
)
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
ROUNDS = 3


def calibrate(folder: Path, log_odds_std: float) -> None:
    """Point W[yes] - W[no] to where the states of the pairs above differ most, with this spread and mean 0.

    In a random network most of the last state is the same for all documents; along a random direction bfloat16's
    error would be as large as what tells documents apart.
    """
    text = load_preprocessor(folder)
    assert text.rerank is not None, "only rerankers are calibrated"
    heads = [text.rerank.head(INSTRUCTION, query) for query in QUERIES]
    documents = text.rerank.documents(DOCUMENTS)
    items = [Item(text.rerank.join(head, ids), Readout("vector")) for head in heads for ids in documents]
    # A tied table is the input too, and the prompt says "yes" and "no": each round moves the states a little.
    for _ in range(ROUNDS):
        backend = load_backend(folder, text.info, LoadOptions(dtype="float32", backend="packed"))
        states = np.stack(backend.launch(items).rows()).astype(np.float64)
        _write_rows(folder, text.rerank.no, text.rerank.yes, direction(states, log_odds_std))


def direction(states: np.ndarray, std: float) -> np.ndarray:
    mean = states.mean(0)
    strongest = np.linalg.svd(states - mean)[2][0]
    strongest -= (strongest @ mean) / (mean @ mean) * mean
    # The largest entry decides the sign, which a decomposition leaves open.
    strongest *= np.sign(strongest[np.abs(strongest).argmax()])
    return np.asarray(strongest * (std / (states @ strongest).std()))


def _write_rows(folder: Path, no: int, yes: int, difference: np.ndarray) -> None:
    name = _head_name(folder)
    file = next(file for file in folder.glob("*.safetensors") if name in load_file(file))
    tensors = load_file(file)
    matrix = tensors[name]
    middle, half = (matrix[no].double() + matrix[yes].double()) / 2, torch.from_numpy(difference) / 2
    matrix[no], matrix[yes] = (middle - half).to(matrix.dtype), (middle + half).to(matrix.dtype)
    save_file(tensors, file, metadata={"format": "pt"})


def _head_name(folder: Path) -> str:
    names = Checkpoint(folder).tensors
    tied = next(name for name in names if name.endswith("embed_tokens.weight"))
    return "lm_head.weight" if "lm_head.weight" in names else tied
