"""Unit vectors of a few texts by our backends and by sentence-transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from models import Backend, Item, LoadOptions, Preprocessor, Readout, load_backend, load_preprocessor

TEXTS = (
    "mars",
    "what is the capital of france?",
    "paris is the capital of france. " * 3,
    "the red planet is mars, a planet.",
    "a",
)


def run(folder: Path, backend: str = "auto", dtype: Any = "float32") -> tuple[Preprocessor, Backend]:
    text = load_preprocessor(folder)
    return text, load_backend(folder, text.info, LoadOptions(dtype=dtype, backend=backend))


def ours(text: Preprocessor, backend: Backend) -> NDArray[np.float32]:
    ids = [text.tokenizer.with_special_tokens(tokens) for tokens in text.tokenizer.encode(TEXTS)]
    rows = np.stack(backend.launch([Item(text_ids, Readout("vector")) for text_ids in ids]).rows())
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def reference(folder: Path) -> NDArray[np.float32]:
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    return np.asarray(model.encode(list(TEXTS), normalize_embeddings=True))


def worst_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float((a.astype(np.float64) * b).sum(axis=1).min())
