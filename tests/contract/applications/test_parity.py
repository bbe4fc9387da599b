"""Random checkpoints through HTTP against the official procedures, and the faults that this would notice.

Tolerances: docs/http-contract.md, float32. A tolerance proves nothing on a model whose answers hardly differ, so the
spread of the answers is checked too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from tests.support.checkpoints.qwen3 import build
from tests.support.http import reference
from tests.support.http.requests import NO, YES, body_of, cosine, embed, rerank, scores, vector, vectors
from tests.support.server.process import ServerProcess

COSINE = 0.999999
SCORE = 1e-5
SAME_DOCUMENT = 1e-6

# How the same network may lie on disk.
EMBEDDERS: dict[str, dict[str, Any]] = {
    "embedder-published": {"seed": 1},
    "embedder-prefixed": {"seed": 2, "prefix": True},
    "embedder-sharded": {"seed": 3, "shards": 3},
    "embedder-untied": {"seed": 4, "tie_word_embeddings": False, "prefix": True},
}
RERANKERS: dict[str, dict[str, Any]] = {
    "reranker-tied": {"seed": 5},
    "reranker-untied": {"seed": 6, "tie_word_embeddings": False},
    "reranker-sharded": {"seed": 7, "shards": 3, "tie_word_embeddings": False},
    "reranker-bare": {"seed": 8, "prefix": False},
}
TEXTS = [
    "",
    "x",
    "The capital of France is Paris.",
    "日本語のテキストです。",
    "two\n\nparagraphs\n",
    "naïve café 🙂",
    "one " * 60,
]
PAIRS = [
    ("What is the capital of France?", "Paris is the capital and largest city of France."),
    ("What is the capital of France?", "The weather in Europe varies."),
    ("What is the capital of France?", ""),
    ("", "A document without a question."),
    ("Wo liegt Köln?", "Köln liegt am Rhein.\n\nEs hat einen Dom."),
    ("2 + 2", "4"),
    ("long", "sentence after sentence, " * 20),
    ("red planet", "Mars, known for its reddish appearance, is often called the Red Planet."),
]
VECTOR_FAULTS: dict[str, dict[str, Any]] = {
    "terminator left off": {"terminator": False},
    "positions restarted": {"extra": reference.positions_restarted},
    "no causal mask": {"extra": reference.no_causal_mask},
    "beginning not seen": {"extra": reference.first_half_unseen},
}
SCORE_FAULTS: dict[str, dict[str, Any]] = {
    "suffix one newline short": {"suffix": reference.SUFFIX[:-1]},
    "two newlines between fields": {"between": "\n\n"},
    "prefix ignored": {"prefix": ""},
    "positions restarted": {"extra": reference.positions_restarted},
    "no causal mask": {"extra": reference.no_causal_mask},
    "beginning not seen": {"extra": reference.first_half_unseen},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small run faster so, most of all on a machine that does other things too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every checkpoint by its id."""
    at = tmp_path_factory.mktemp("checkpoints")
    embedders = {name: build(at / name, "embedder", **shape) for name, shape in EMBEDDERS.items()}
    rerankers = {name: build(at / name, "reranker", log_odds_std=3.0, **shape) for name, shape in RERANKERS.items()}
    return embedders | rerankers


@pytest.fixture(scope="module")
def server(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server of them all."""
    models = [{"path": str(folder), "dtype": "float32"} for folder in folders.values()]
    with ServerProcess(tmp_path_factory.mktemp("parity"), {"models": models}) as hearth:
        yield hearth


def _reference_scores(folder: Path, **faults: Any) -> list[float]:
    return [reference.score(folder, query, document, **faults) for query, document in PAIRS]


def _served_scores(server: ServerProcess, model: str) -> list[float]:
    answers = [rerank(server.client, model=model, query=query, documents=[document]) for query, document in PAIRS]
    return [float(scores(answer)[0]) for answer in answers]


@pytest.mark.parametrize("model", EMBEDDERS)
def test_vectors_equal_the_reference(server: ServerProcess, folders: dict[str, Path], model: str) -> None:
    served = vectors(server.client, TEXTS, model=model, normalize=False)

    expected = [reference.embed(folders[model], text) for text in TEXTS]
    assert min(map(cosine, served, expected)) >= COSINE
    assert served == pytest.approx(np.array(expected), abs=1e-3)


@pytest.mark.parametrize("fault", VECTOR_FAULTS.values(), ids=VECTOR_FAULTS.keys())
def test_a_faulty_embedder_would_be_noticed(
    server: ServerProcess, folders: dict[str, Path], fault: dict[str, Any]
) -> None:
    model, text = "embedder-published", "The capital of France is Paris."

    served = vector(server.client, text, model=model)

    assert cosine(served, reference.embed(folders[model], text)) >= COSINE
    assert cosine(served, reference.embed(folders[model], text, **fault)) < COSINE - 1e-4


@pytest.mark.parametrize("model", RERANKERS)
def test_scores_equal_the_reference(server: ServerProcess, folders: dict[str, Path], model: str) -> None:
    served = _served_scores(server, model)

    assert served == pytest.approx(_reference_scores(folders[model]), abs=SCORE)


@pytest.mark.parametrize("model", RERANKERS)
def test_the_scores_of_these_checkpoints_differ_enough_to_prove_something(folders: dict[str, Path], model: str) -> None:
    pairs = np.array([reference.logits(folders[model], query, document) for query, document in PAIRS])

    assert np.std(pairs[:, 1] - pairs[:, 0]) >= 1.5


@pytest.mark.parametrize("fault", SCORE_FAULTS.values(), ids=SCORE_FAULTS.keys())
@pytest.mark.parametrize("model", ["reranker-tied", "reranker-untied"])
def test_a_faulty_reranker_would_be_noticed(
    server: ServerProcess, folders: dict[str, Path], model: str, fault: dict[str, Any]
) -> None:
    served = _served_scores(server, model)

    assert served != pytest.approx(_reference_scores(folders[model], **fault), abs=100 * SCORE)


@pytest.mark.parametrize("model", RERANKERS)
def test_documents_of_one_request_score_as_they_do_alone(
    server: ServerProcess, folders: dict[str, Path], model: str
) -> None:
    query, documents = PAIRS[0][0], [document for _, document in PAIRS]

    served = scores(rerank(server.client, model=model, query=query, documents=documents))

    expected = [reference.score(folders[model], query, document) for document in documents]
    assert served == pytest.approx(np.array(expected), abs=SCORE)


@pytest.mark.parametrize("model", RERANKERS)
def test_39_the_softmax_of_no_and_yes_is_the_score_document_by_document(
    server: ServerProcess, folders: dict[str, Path], model: str
) -> None:
    query, documents = PAIRS[0][0], [document for _, document in PAIRS]
    bodies = [body_of(document, query) for document in documents]
    no_yes = reference.ids_of(folders[model], "no", "yes")

    rows = vectors(server.client, bodies, model=model, return_logits=no_yes, normalize=True)

    reranked = scores(rerank(server.client, model=model, query=query, documents=documents))
    assert rows[:, 1] == pytest.approx(reranked, abs=SAME_DOCUMENT)


@pytest.mark.parametrize("model", RERANKERS)
def test_logits_equal_the_reference(server: ServerProcess, folders: dict[str, Path], model: str) -> None:
    bodies = [body_of(document, query) for query, document in PAIRS]
    no_yes = reference.ids_of(folders[model], "no", "yes")

    rows = vectors(server.client, bodies, model=model, return_logits=no_yes)

    expected = [reference.logits(folders[model], query, document) for query, document in PAIRS]
    assert rows == pytest.approx(np.array(expected), abs=1e-3)


def test_39_on_the_demo_pair_too_a_document_scores_the_same_on_both_routes(demo: httpx.Client) -> None:
    # Of a few words each: a prefix that is kept from the batch before moves the last bits of long ones.
    query, documents = PAIRS[0][0], [document for _, document in PAIRS[:6]]
    bodies = [body_of(document, query) for document in documents]

    answer = embed(demo, bodies, return_logits=[NO, YES], normalize=True)

    rows = [item["embedding"][1] for item in answer.json()["data"]]
    assert rows == pytest.approx(scores(rerank(demo, query=query, documents=documents)), abs=SAME_DOCUMENT)
