"""The embedder's axes, its task lines, and its vectors for a batch of texts."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Qwen3Model

TASKS = (
    "Given a web search query, retrieve relevant passages that answer the query",
    "Given a web search query, retrieve relevant passages that answer the query",
    "Given a web search query, retrieve relevant passages that answer the query",
    "Given a question, retrieve passages that answer the question",
    "Retrieve semantically similar text",
    "Given a claim, find documents that support or refute the claim",
    "Find the help article that solves the customer's problem",
    "Given a title, find the matching article",
    "Search for products that fit the request",
    "Classify the topic of the text",
)


def rotation(vectors: Tensor, width: int) -> Tensor:
    """Axes of most energy first, [384, width]; uncentred, so that cosines survive."""
    values = vectors.float()
    axes: Tensor = torch.linalg.eigh(values.T @ values / len(values))[1]
    return axes.flip(1)[:, :width].contiguous()


def batches(ids: Sequence[Sequence[int]], max_padded: int) -> list[list[int]]:
    """Rows of like length together, shortest first."""
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    found: list[list[int]] = [[]]
    for row in order:
        if found[-1] and len(ids[row]) * (len(found[-1]) + 1) > max_padded:
            found.append([])
        found[-1].append(row)
    return found


def embed(network: Qwen3Model, ids: Sequence[Sequence[int]], *, max_padded: int = 2048) -> Tensor:
    """The last token's state of each row, not normalised, [rows, H]. Rows are padded right: causal, so it is exact."""
    out: list[Tensor] = []
    places: list[int] = []
    for rows in batches(ids, max_padded):
        longest = len(ids[rows[-1]])
        padded = torch.tensor([list(ids[row]) + [0] * (longest - len(ids[row])) for row in rows])
        last = torch.tensor([len(ids[row]) - 1 for row in rows])
        hidden = network(input_ids=padded, use_cache=False).last_hidden_state
        out.append(hidden[torch.arange(len(rows)), last])
        places += rows
    return torch.cat(out)[torch.tensor(places).argsort()]
