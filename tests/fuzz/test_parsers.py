"""The first cases of `make fuzz-parsers`, with seeds that never change. Bodies: tests/contract/routes/test_fuzz.py."""

import random
from pathlib import Path

import pytest

from tests.fuzz.parsers import KINDS

# As many as take about a second: a configuration of a model that is valid loads the model.
CASES = {
    "config": 40,
    "weights": 10,
    "tokenizer": 5,
    "tokenizer_config": 3,
    "model_config": 5,
    "modules": 15,
    "pooling": 3,
}


@pytest.mark.parametrize(("kind", "cases"), CASES.items())
def test_damaged_files_are_read_or_refused_in_one_sentence(tmp_path: Path, kind: str, cases: int) -> None:
    case = KINDS[kind](tmp_path)

    for seed in range(cases):
        case(random.Random(f"{kind} {seed}"))
