"""modules.json: parts are known, run by whoever knows them, or refused by name."""

import json
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library

from models import ModelError, load_preprocessor
from tests.support.checkpoints.classifiers import bert_tokenizer
from tests.support.checkpoints.encoders import WIDTH, save_encoder
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.embeddings import run


@pytest.mark.parametrize("backend", ["packed", "transformers"])
def test_a_backend_that_lacks_a_part_is_refused_though_asked_for(tmp_path: Path, backend: str) -> None:
    folder = save_encoder(tmp_path / "model", [library.Pooling(WIDTH, "weightedmean")])

    with pytest.raises(ModelError, match=f"cannot be run by {backend}: there is no pooling of ours for: weightedmean"):
        run(folder, backend)


def test_a_part_that_is_not_served_is_named_before_a_file_that_it_has_not(tmp_path: Path) -> None:
    tokenizer = bert_tokenizer()
    static = library.StaticEmbedding(tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path / "static"))

    with pytest.raises(ModelError, match="lists a module that is not supported: StaticEmbedding"):
        load_preprocessor(tmp_path / "static")


def test_a_part_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", [library.Pooling(WIDTH, "mean"), library.Dense(WIDTH, 20)])
    file = folder / "modules.json"
    file.write_text(file.read_text().replace(json.loads(file.read_text())[2]["type"], "custom_dense.Dense"))

    with pytest.raises(ModelError, match=r"no remote code is run: custom_dense\.Dense"):
        load_preprocessor(folder)


@pytest.mark.parametrize("kind", ["SparseEncoder", "MultiVectorEncoder"])
def test_a_model_of_other_vectors_is_refused(tmp_path: Path, kind: str) -> None:
    folder = build(tmp_path / "m")
    file = folder / "config_sentence_transformers.json"
    file.write_text(json.dumps({"model_type": kind}))

    with pytest.raises(ModelError, match=f"is a {kind}; only models that give one dense vector per text"):
        load_preprocessor(folder)
