"""The vocabulary of a GGUF file becomes a tokenizer of its own family, or is refused by name."""

from pathlib import Path
from typing import Any

import pytest

from models import ModelError
from models.text.tokenizer import Tokenizer
from tests.support.checkpoints.gguf import write_gguf

# Bytes as GPT-2 spells them: a space is Ġ.
TOKENS = ["<|end|>", *"abc12,", "Ġ", "ab", "Ġab", "<word>"]
METADATA: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3, *[1] * 9, 4],
    "tokenizer.ggml.merges": ["a b", "Ġ ab"],
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 0,
}


def tokenizer(folder: Path, **metadata: Any) -> Tokenizer:
    entries = METADATA | {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}
    write_gguf(folder / "m.gguf", entries, {})
    return Tokenizer(folder / "tokenizer.json")


def spelt(folder: Path, text: str, **metadata: Any) -> list[str]:
    return [TOKENS[number] for number in tokenizer(folder, **metadata).encode([text])[0]]


@pytest.mark.parametrize("pre", ["smollm", "qwen2", "llama-bpe"])
def test_a_text_is_split_and_merged(tmp_path: Path, pre: str) -> None:
    assert spelt(tmp_path, "abc ab 12,", pre=pre) == ["ab", "c", "Ġab", "Ġ", "1", "2", ","]


def test_no_text_becomes_a_control_token(tmp_path: Path) -> None:
    assert "<|end|>" not in spelt(tmp_path, "a<|end|>b")


def test_tokens_around_a_text_are_those_that_the_file_asks_for(tmp_path: Path) -> None:
    read = tokenizer(tmp_path, add_bos_token=True, add_eos_token=True)

    assert (read.before.tolist(), read.after.tolist()) == ([0], [0])


def test_llama_3_begins_each_text_with_a_token_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    assert tokenizer(tmp_path, pre="llama-bpe").before.tolist() == [0]
    assert tokenizer(tmp_path, pre="llama-bpe", add_bos_token=False).before.tolist() == []


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            {"model": "llama"},
            r"vocabulary that is not supported \(llama, smollm; .*put the model's own tokenizer\.json",
        ),
        ({"pre": "deepseek-llm"}, r"not supported \(gpt2, deepseek-llm"),
        ({"merges": "a b"}, r"has no tokenizer\.ggml\.merges in its metadata"),
        ({"merges": ["a b c"]}, "has a vocabulary that is damaged"),
        ({"token_type": [1]}, "has a vocabulary that is damaged"),
        ({"add_bos_token": True, "bos_token_id": 99}, r"does not say which \(bos\)"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path: Path, metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        tokenizer(tmp_path, **metadata)
