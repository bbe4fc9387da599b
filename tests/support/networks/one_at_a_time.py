"""The reference for the backends: transformers in float32, one text at a time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from models.interface import Ids, Row

Matrix = NDArray[np.float32]


def reference(folder: Path, texts: Sequence[Ids], *, dtype: torch.dtype = torch.float32) -> tuple[Matrix, Matrix]:
    """The states of the last tokens after the final norm [n, H], and their logits of all tokens [n, V]."""
    transformers.utils.logging.disable_progress_bar()
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval()
    vectors, logits = [], []
    with torch.inference_mode():
        for ids in texts:
            state = network.model(torch.from_numpy(ids).long()[None], use_cache=False).last_hidden_state[0, -1]
            vectors.append(state.float().numpy())
            logits.append(network.lm_head.float()(state.float()).numpy())
            network.lm_head.to(dtype)
    return np.stack(vectors), np.stack(logits)


def cosines(rows: Sequence[Row] | Matrix, others: Sequence[Row] | Matrix) -> NDArray[np.float64]:
    """The cosine of each row with the row at its place in `others`."""
    a, b = (np.stack(list(vectors)).astype(np.float64) for vectors in (rows, others))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / lengths)


def sigmoid(log_odds: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-odds as probabilities."""
    return np.asarray(1 / (1 + np.exp(-log_odds.astype(np.float64))))
