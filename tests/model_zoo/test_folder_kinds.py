"""docs/folders.md: every row is true, and what is read gives the vectors of sentence-transformers."""

import numpy as np

from docs.generate.folders import PAGE, page, rows
from models import fitting
from models.verify.reference import vector_reference
from tests.support.networks.one_at_a_time import cosines

TEXTS = ["What is the capital of France?", "a", "The refund was issued on 14 March, and should reach you soon."]


def test_the_page_says_what_becomes_of_each_folder() -> None:
    written, others = [], {}
    for kind, _, loaded, cell in rows():
        written.append((kind.words, cell))
        if kind.like_library and not isinstance(loaded, str):
            texts = fitting(loaded.preprocessor, TEXTS)
            reference = vector_reference(loaded.preprocessor.info)
            expected = np.stack([reference.vector(text) for text in texts])
            others[kind.words] = float(cosines(np.stack(loaded.vectors(texts)), expected).min())

    assert PAGE.read_text("utf-8") == page(written), "run make docs"
    assert {words: cosine for words, cosine in others.items() if cosine < 0.99999} == {}
    assert len(others) >= 20
