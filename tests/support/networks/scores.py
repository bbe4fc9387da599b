"""Scores of the calibration's pairs by our backends and by sentence-transformers' CrossEncoder."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from models import Item, LoadOptions, Readout, finish_scores, load_backend, load_preprocessor
from tests.support.checkpoints.calibration import DOCUMENTS, QUERIES

PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]


def scores(folder: Path, *, backend: str = "auto", task: str | None = None, raw: bool = False) -> NDArray[np.float32]:
    """Our scores in float32; `task` None means the task of the model."""
    text = load_preprocessor(folder)
    prompt, task = text.rerank, text.instruction if task is None else task
    assert prompt, "a reranker without its prompt"
    heads = [(prompt.head(task, query), prompt.documents([document])[0]) for query, document in PAIRS]
    items = [Item(prompt.join(head, ids), Readout("score")) for head, ids in heads]
    options = LoadOptions(dtype="float32", backend=backend)
    return finish_scores(load_backend(folder, text.info, options).launch(items).rows(), raw=raw)


def library_scores(folder: Path, *, task: str | None = None, raw: bool = False) -> NDArray[np.float32]:
    """The scores of the library in float32, one text at a time; `task` is used by chat templates only."""
    library = CrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    activation = torch.nn.Identity() if raw else torch.nn.Sigmoid()
    return np.asarray(library.predict(PAIRS, activation_fn=activation, batch_size=1, prompt=task))
