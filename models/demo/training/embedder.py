"""What is the embedder's own: its axes, and how texts are batched for it."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Qwen3Model


def rotation(vectors: Tensor, width: int) -> Tensor:
    """Axes of most energy first, [384, width]; uncentred, so that cosines survive."""
    values = vectors.float()
    axes: Tensor = torch.linalg.eigh(values.T @ values / len(values))[1]
    return axes.flip(1)[:, :width].contiguous()


def embed(network: Qwen3Model, ids: Sequence[Sequence[int]], *, max_padded: int = 8192) -> Tensor:
    """The last token's state of each row, not normalised, [rows, H]. Rows are padded right: causal, so it is exact."""
    out: list[Tensor] = []
    longest = max(map(len, ids))
    count = max(1, max_padded // longest)
    for at in range(0, len(ids), count):
        rows = ids[at : at + count]
        padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
        last = torch.tensor([len(row) - 1 for row in rows])
        hidden = network(input_ids=padded, use_cache=False).last_hidden_state
        out.append(hidden[torch.arange(len(rows)), last])
    return torch.cat(out)
