"""A model asked without a server, and texts that fit it."""

from pathlib import Path

import numpy as np
import pytest

from models import LoadOptions, OfflineModel, fitting, fitting_documents, load_preprocessor
from models.checkpoint.kind import FRAME_TOKENS
from models.verify.offline import cosines
from models.verify.samples import SAMPLE_DOCUMENTS, SAMPLE_QUERIES, SAMPLE_TEXTS
from tests.support.checkpoints.qwen3 import build

FLOAT32 = LoadOptions(dtype="float32", device="cpu")


@pytest.mark.parametrize("max_tokens", [12, 40])
def test_texts_are_cut_between_characters_to_what_the_model_takes(tmp_path: Path, max_tokens: int) -> None:
    model = load_preprocessor(build(tmp_path / "m", max_position_embeddings=max_tokens))

    cut = fitting(model, SAMPLE_TEXTS)

    assert max(len(ids) for ids in model.tokenizer.encode(cut)) in (max_tokens - 2, max_tokens - 1)
    assert all(whole.startswith(text) for text, whole in zip(cut, SAMPLE_TEXTS, strict=True))


def test_documents_are_cut_to_what_fits_beside_the_longest_query(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", "reranker", max_position_embeddings=620)
    model = OfflineModel.load(folder, FLOAT32)

    documents = fitting_documents(model.preprocessor, SAMPLE_QUERIES, SAMPLE_DOCUMENTS)

    assert max(len(ids) for query in SAMPLE_QUERIES for ids in model.pairs(query, documents)) <= 620
    assert len(documents[-1]) < len(SAMPLE_DOCUMENTS[-1])
    assert documents[0] == SAMPLE_DOCUMENTS[0]


def test_the_size_of_a_batch_changes_nothing(tmp_path: Path) -> None:
    model = OfflineModel.load(build(tmp_path / "m"), FLOAT32)

    assert min(cosines(model.vectors(SAMPLE_TEXTS), model.vectors(SAMPLE_TEXTS, batch=1))) > 0.999999


def test_a_vector_of_zeros_has_no_cosine() -> None:
    one, nothing = np.ones(3, dtype=np.float32), np.zeros(3, dtype=np.float32)

    assert cosines([one], [one * 3]) == pytest.approx([1])
    assert np.isnan(cosines([one], [nothing])).all()


def test_no_sample_spells_a_control_token() -> None:
    # The reference would parse it, and we spell it out.
    assert not [
        text
        for text in (*SAMPLE_TEXTS, *SAMPLE_QUERIES, *SAMPLE_DOCUMENTS)
        if any(token in text for token in FRAME_TOKENS)
    ]
    assert len(set(SAMPLE_TEXTS)) == 30
