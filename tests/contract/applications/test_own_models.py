"""Models that a user brings, through HTTP: each gives what sentence-transformers gives for the same folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library

from tests.support.checkpoints.causal_rerankers import OTHER, save_causal
from tests.support.checkpoints.classifiers import cross_encoder, fold_head
from tests.support.checkpoints.encoders import WIDTH, save_encoder
from tests.support.checkpoints.qwen3 import build
from tests.support.http import reference
from tests.support.http.requests import cosine, embed, openai_error, rerank, scores, vector, vectors
from tests.support.server.process import ServerProcess

COSINE = 0.99999
SCORE = 1e-5
TEXTS = ["mars", "what is the capital of france?", "paris is the capital of france. " * 3, "a red planet"]
# What stands behind a random network, by the name of its folder.
EMBEDDERS: dict[str, Any] = {
    "cls": lambda: [library.Pooling(WIDTH, "cls")],
    "max": lambda: [library.Pooling(WIDTH, "max")],
    "mean": lambda: [library.Pooling(WIDTH, "mean"), library.Normalize()],
    "lasttoken": lambda: [library.Pooling(WIDTH, "lasttoken")],
    "dense": lambda: [library.Pooling(WIDTH, "mean"), library.Dense(WIDTH, 20), library.Normalize()],
    "weightedmean": lambda: [library.Pooling(WIDTH, "weightedmean")],
}
CROSS_ENCODERS = ("Bert", "XLMRoberta")
NOMIC = "nomic-embed-text-v1.5"
SHORT = "short"
OWN_PROMPT = "own-prompt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them."""
    folder = tmp_path_factory.mktemp("own")
    for name, behind in EMBEDDERS.items():
        save_encoder(folder / name, behind())
    save_encoder(folder / NOMIC, [library.Pooling(WIDTH, "mean")], name="NomicBert")
    (folder / NOMIC / "config_sentence_transformers.json").unlink()  # as published: no prompts
    save_encoder(folder / SHORT, [library.Pooling(WIDTH, "mean")], max_seq_length=12)
    for name in CROSS_ENCODERS:
        cross_encoder(folder / name, name)
    fold_head(build(folder / "original-reranker", "reranker"), folder / "folded")
    save_causal(folder / OWN_PROMPT, OTHER)
    return folder


@pytest.fixture(scope="module")
def own(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Asks a server of them, in float32."""
    names = [*EMBEDDERS, NOMIC, SHORT, *CROSS_ENCODERS, OWN_PROMPT, "folded"]
    models = [{"path": str(folder / name), "id": name, "dtype": "float32"} for name in names]
    with ServerProcess(tmp_path_factory.mktemp("own-server"), {"models": models}) as hearth:
        yield hearth.client


def theirs(folder: Path, texts: list[str], **how: Any) -> NDArray[np.float32]:
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    return np.asarray(model.encode(texts, **how))


@pytest.mark.parametrize("name", [*EMBEDDERS, NOMIC])
def test_vectors_are_those_of_sentence_transformers(own: httpx.Client, folder: Path, name: str) -> None:
    ours = vectors(own, TEXTS, model=name)

    expected = theirs(folder / name, TEXTS, normalize_embeddings=True)
    assert min(map(cosine, ours, expected)) >= COSINE
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)
    assert cosine(ours[0], expected[1]) < 0.99


@pytest.mark.parametrize("name", EMBEDDERS)
def test_token_ids_give_the_vectors_of_their_text(own: httpx.Client, name: str) -> None:
    ids = own.post("/tokenize", json={"prompt": TEXTS[1], "model": name}).json()["tokens"]

    assert cosine(vector(own, ids, model=name), vector(own, TEXTS[1], model=name)) >= COSINE


@pytest.mark.parametrize(("name", "backend"), [("dense", "encoder"), ("weightedmean", "sentence_transformers")])
def test_the_list_of_models_says_how_each_is_run(own: httpx.Client, name: str, backend: str) -> None:
    served = own.get(f"/v1/models/{name}").json()["hearth"]

    assert served["backend"] == backend
    assert served["reason"]
    assert served["pooling"] == {"dense": "mean", "weightedmean": "modules"}[name]
    assert served["dimensions"] == vector(own, "a", model=name).size


def test_dimensions_end_at_the_width_of_the_projection(own: httpx.Client) -> None:
    whole = vector(own, "a", model="dense", normalize=False)

    assert np.array_equal(vector(own, "a", model="dense", normalize=False, dimensions=8), whole[:8])
    error = openai_error(embed(own, "a", model="dense", dimensions=21), 400)
    assert "between 1 and 20" in error["message"]


def test_12_nomics_rule_for_dimensions(own: httpx.Client, folder: Path) -> None:
    [raw] = theirs(folder / NOMIC, TEXTS[:1])
    norm = torch.nn.functional.layer_norm(torch.from_numpy(raw), (WIDTH,))[:16]
    expected = torch.nn.functional.normalize(norm, dim=0).numpy()

    ours = vector(own, TEXTS[0], model=NOMIC, dimensions=16)

    assert np.abs(ours - expected).max() <= 1e-5
    assert cosine(vector(own, TEXTS[0], model=NOMIC, dimensions=WIDTH), raw) >= COSINE
    assert cosine(expected, raw[:16]) < 0.9999


def test_prompts_that_its_files_lack_are_known(own: httpx.Client) -> None:
    prompted = vector(own, "mars", model=NOMIC, prompt_name="query")

    assert np.array_equal(prompted, vector(own, "search_query: mars", model=NOMIC))


def test_a_lower_limit_of_the_files_is_the_models(own: httpx.Client, folder: Path) -> None:
    text = "mars " * 20

    error = openai_error(embed(own, text, model=SHORT), 400)
    answer = embed(own, text, model=SHORT, truncate=True)

    assert error["message"].startswith("Invalid 'input': maximum input length is 12 tokens. ")
    assert answer.json()["usage"]["total_tokens"] == 12
    ours = np.float32(answer.json()["data"][0]["embedding"])
    assert cosine(ours, theirs(folder / SHORT, [text])[0]) >= COSINE


def test_a_folded_reranker_scores_as_the_original_procedure(own: httpx.Client, folder: Path) -> None:
    query, documents = "Which planet is red?", ["Mars is.", "Paris is the capital of France.", ""]

    answer = rerank(own, query=query, documents=documents, model="folded")

    expected = [reference.score(folder / "original-reranker", query, document) for document in documents]
    assert np.abs(scores(answer) - expected).max() <= SCORE
    assert np.ptp(expected) > 0.01


@pytest.mark.parametrize("name", [*CROSS_ENCODERS, OWN_PROMPT])
def test_cross_encoders_score_as_the_library_does(own: httpx.Client, folder: Path, name: str) -> None:
    query, documents = "what is the red planet?", ["mars is a red planet.", "paris", "", "what is the capital?"]

    answer = rerank(own, query=query, documents=documents, model=name)
    raw = rerank(own, query=query, documents=documents, model=name, raw_scores=True)

    library = CrossEncoder(str(folder / name), device="cpu", model_kwargs={"dtype": torch.float32})
    pairs = [(query, document) for document in documents]
    assert np.abs(scores(answer) - library.predict(pairs, activation_fn=torch.nn.Sigmoid())).max() <= SCORE
    assert np.abs(scores(raw) - library.predict(pairs, activation_fn=torch.nn.Identity())).max() <= 10 * SCORE


@pytest.mark.parametrize("name", CROSS_ENCODERS)
def test_a_document_that_is_too_long_is_cut_as_the_library_cuts_it(own: httpx.Client, folder: Path, name: str) -> None:
    query, document = "mars?", "mars is a red planet. " * 40

    answer = rerank(own, query=query, documents=[document], model=name)

    library = CrossEncoder(str(folder / name), device="cpu", model_kwargs={"dtype": torch.float32})
    expected = library.predict([(query, document)], activation_fn=torch.nn.Sigmoid())
    assert np.abs(scores(answer) - expected).max() <= SCORE
    assert answer.headers["x-hearth-truncated"] == "1"


def test_a_document_cannot_end_the_pair_early(own: httpx.Client) -> None:
    documents = ["mars [SEP] paris", "mars"]

    answer = rerank(own, query="mars", documents=documents, model="Bert")

    asked = own.post("/tokenize", json={"prompt": documents[0], "model": "Bert"}).json()["tokens"]
    separator = own.post("/tokenize", json={"prompt": "", "model": "Bert"}).json()["tokens"][-1]
    assert asked.count(separator) == 1
    assert answer.json()["usage"]["total_tokens"] == len(asked) + 2 + 5


@pytest.mark.parametrize("name", ["Bert", OWN_PROMPT])
def test_an_instruction_has_no_place_in_a_pair_or_a_prompt_without_one(own: httpx.Client, name: str) -> None:
    asked = {"query": "mars", "documents": ["a red planet", "paris"], "model": name}

    answer = rerank(own, **asked, instruction="Find planets")

    assert answer.headers["x-hearth-ignored-fields"] == "instruction"
    assert np.array_equal(scores(answer), scores(rerank(own, **asked)))


def test_a_folded_reranker_has_no_token_logits(own: httpx.Client) -> None:
    error = openai_error(embed(own, "a", model="folded", return_logits=[0]), 400)

    assert error["code"] == "wrong_model_kind"
    assert error["message"] == "Model `folded` is a classifier and has no token logits. Use POST /v1/rerank."
