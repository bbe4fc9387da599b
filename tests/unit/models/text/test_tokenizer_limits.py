"""A tokenizer.json that would make short texts long is refused before any text is tokenised."""

import json
from pathlib import Path
from typing import Any

import pytest

from models import ModelError
from models.text.tokenizer import Tokenizer
from models.text.tokenizer_limits import why_unbounded
from tests.support.checkpoints.classifiers import bert_tokenizer, xlm_roberta_tokenizer
from tests.support.checkpoints.vocabulary import write_tokenizer


def replace(content: str, **pattern: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"normalizer": {"type": "Sequence", "normalizers": list(steps)}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (sequence(*[replace("o" * 10, String="o")] * 9), "its normalizer may make a text 1,000,000,000 times as long"),
        (sequence(*[replace("oo", Regex="")] * 9), "its normalizer may make a text 19,683 times as long"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 20_000_000}}, "its prepend has 20000000 characters"),
        ({"decoder": replace("a" * 5_000, String="b")}, "its content has 5000 characters"),
        (
            {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": "a?" * 20_000},
                    "behavior": "Isolated",
                    "invert": False,
                }
            },
            "its Regex has 40000 characters",
        ),
    ],
)
def test_a_tokenizer_that_makes_texts_long_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    write_tokenizer(tmp_path, terminator=False)
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")

    with pytest.raises(ModelError, match=message):
        Tokenizer(file)


@pytest.mark.parametrize("affix", ["continuing_subword_prefix", "end_of_word_suffix"])
def test_long_affixes_of_pieces_are_refused(affix: str) -> None:
    assert why_unbounded({"model": {"type": "BPE", affix: "#" * 2_000}}) == (
        f"its {affix} has 2000 characters; at most 1000 are supported"
    )


@pytest.mark.parametrize("tokenizer", [bert_tokenizer(), xlm_roberta_tokenizer()], ids=["BERT", "XLM-R"])
def test_published_forms_are_taken(tokenizer: Any) -> None:
    assert why_unbounded(json.loads(tokenizer.backend_tokenizer.to_str())) is None


def test_what_published_tokenizers_replace_is_taken() -> None:
    steps = [replace("▁", String=" "), replace(" ", Regex=" {2,}"), replace('"', String="``"), replace("", Regex="^x*")]

    assert why_unbounded(sequence(*steps * 10)) is None
