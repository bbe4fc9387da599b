"""Runs one loaded model without a server: texts to vectors, a query and documents to scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.checkpoint.folder import Checkpoint
from models.interface import Backend, Ids, Item, LoadOptions, Readout, Row
from models.loading import Preprocessor, load_backend, load_preprocessor
from models.postprocess import finish_scores
from models.text.qwen3_prompt import DEFAULT_INSTRUCTION
from models.text.tokenizer import Tokenizer

BATCH_TEXTS = 8


@dataclass(frozen=True, slots=True)
class OfflineModel:
    """A model's preprocessor and the backend that runs it. Belongs to one thread."""

    preprocessor: Preprocessor
    backend: Backend

    @classmethod
    def load(cls, path: Path, options: LoadOptions) -> "OfflineModel":
        """Load the preprocessor and the backend, with all checks.

        Raises: ModelError.
        """
        checkpoint = Checkpoint(path, frozenset(options.ignore_entries))
        preprocessor = load_preprocessor(checkpoint, options)
        return cls(preprocessor, load_backend(checkpoint, preprocessor.info, options))

    def vectors(self, texts: Sequence[str], batch: int = BATCH_TEXTS) -> list[Row]:
        """Pooled vectors before any normalising, `batch` texts at a time; each text must fit."""
        tokenizer = self.preprocessor.tokenizer
        ids = [tokenizer.with_special_tokens(row) for row in tokenizer.encode(texts)]
        return self.rows([Item(row, Readout("vector")) for row in ids], batch)

    def pairs(self, query: str, documents: Sequence[str]) -> list[Ids]:
        """The complete prompts of a query and documents that fit."""
        prompt = self.preprocessor.rerank
        assert prompt is not None, "a reranker without its prompt"
        head = prompt.head(DEFAULT_INSTRUCTION, query)
        return [prompt.join(head, document) for document in prompt.documents(documents)]

    def scores(self, query: str, documents: Sequence[str], batch: int = BATCH_TEXTS) -> Row:
        """Relevance of each document, as probabilities, [n]."""
        items = [Item(ids, Readout("score")) for ids in self.pairs(query, documents)]
        return finish_scores(self.rows(items, batch))

    def rows(self, items: Sequence[Item], batch: int = BATCH_TEXTS) -> list[Row]:
        """Rows of items, `batch` items at a time."""
        parts = [items[start : start + batch] for start in range(0, len(items), batch)]
        return [row for part in parts for row in self.backend.launch(part).rows()]


def fitting(model: Preprocessor, texts: Sequence[str]) -> list[str]:
    """The texts, each cut to the model's limit."""
    limit = model.info.max_tokens - model.tokenizer.special_count
    return [_cut(model.tokenizer, text, limit) for text in texts]


def fitting_documents(model: Preprocessor, queries: Sequence[str], documents: Sequence[str]) -> list[str]:
    """The documents, each cut so that it fits beside the longest of the queries."""
    prompt = model.rerank
    assert prompt is not None, "a reranker without its prompt"
    nothing = prompt.documents([""])[0]
    longest = max(len(prompt.join(prompt.head(DEFAULT_INSTRUCTION, query), nothing)) for query in queries)
    return [_cut(model.tokenizer, document, model.info.max_tokens - longest) for document in documents]


def _cut(tokenizer: Tokenizer, text: str, max_tokens: int) -> str:
    # Cut between characters: libraries treat half a character in different ways.
    while len(spans := tokenizer.offsets(text)) > max_tokens:
        text = text[: min(spans[max_tokens][1], len(text) - 1)]
    return text


def cosines(ours: Sequence[Row], theirs: Sequence[Row]) -> list[float]:
    """Cosine of each pair of vectors; NaN if one is zero."""
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (ours, theirs))
    with np.errstate(invalid="ignore"):
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return [float(cosine) for cosine in (a * b).sum(axis=1) / lengths]
