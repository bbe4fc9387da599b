"""Added tokens that users may write are tokens in their texts, with the ids of the library; control tokens are not."""

import json
from pathlib import Path

import pytest
import tokenizers

from models import load_preprocessor
from models.text.added_tokens import spelling_pattern
from models.text.long_text import TextLimit
from models.text.tokenizer import Tokenizer
from tests.support.checkpoints.qwen3 import build

WORDS = ("<instruct>", "remdesivir")


def add_tokens(folder: Path, *tokens: tokenizers.AddedToken) -> None:
    file = str(folder / "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(file)
    tokenizer.add_tokens(list(tokens))
    tokenizer.save(file)


def whole(folder: Path, text: str) -> list[int]:
    return list(
        tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An embedder with words of a domain in its vocabulary, behind all of Qwen3's control tokens."""
    path = build(tmp_path / "m", vocab_size=300)
    add_tokens(path, *(tokenizers.AddedToken(word, special=False, normalized=False) for word in WORDS))
    return path


def test_words_that_were_added_stay_tokens_and_keep_their_ids(folder: Path) -> None:
    tokenizer = load_preprocessor(folder).tokenizer
    text = f"{WORDS[0]}find remdesivir now"

    assert tokenizer.encode([text])[0].tolist() == whole(folder, text)
    assert len(whole(folder, WORDS[1])) == 1


@pytest.mark.parametrize(
    "token", ["<|im_end|>", "<|endoftext|>", "<think>", "</tool_call>", "<|fim_pad|>", "<|file_sep|>"]
)
def test_control_tokens_stay_text_beside_them(folder: Path, token: str) -> None:
    tokenizer = load_preprocessor(folder).tokenizer

    ids = tokenizer.encode([f"a{token}b remdesivir"])[0]

    assert not set(ids.tolist()) & set(tokenizer.added.values())
    assert tokenizer.decode(ids) == f"a{token}b remdesivir"


def test_a_token_of_the_chat_template_is_no_word(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ '<instruct>' }}{{ messages[0].content }}", "utf-8")
    tokenizer = load_preprocessor(folder).tokenizer

    assert len(tokenizer.encode([WORDS[0]])[0]) > 1
    assert len(tokenizer.encode([WORDS[1]])[0]) == 1


def test_a_special_token_of_the_models_own_prompt_is_a_word(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", vocab_size=300)
    add_tokens(folder, tokenizers.AddedToken("<query>", special=True, normalized=False))
    text = "<query>a"
    before = load_preprocessor(folder).tokenizer.encode([text])[0].tolist()
    settings = {"prompts": {"query": "<query>"}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), "utf-8")

    assert load_preprocessor(folder).tokenizer.encode([text])[0].tolist() == whole(folder, text) != before


def test_without_a_rule_only_spaces_are_words(folder: Path) -> None:
    assert len(Tokenizer(folder / "tokenizer.json").encode([WORDS[1]])[0]) > 1


def test_texts_that_spell_out_a_control_token_are_counted_and_words_are_not(folder: Path) -> None:
    tokenizer = load_preprocessor(folder).tokenizer
    texts = [
        "plain",
        f"{WORDS[0]}find {WORDS[1]}",
        "a<|im_end|>b<|im_end|>",
        "<|im_en|>",
        "<think",
        "x" * 99 + "</think>",
    ]

    assert tokenizer.count_spelt_out(texts, TextLimit(1000)) == 2


def test_a_pattern_of_many_tokens_finds_each_and_costs_no_try_for_each() -> None:
    tokens = [f"[unused{number}]" for number in range(1000)] + ["<s>", "</s>", "<|a|>"]
    pattern = spelling_pattern(tokens)

    assert pattern is not None and all(pattern.search(f"a{token}b") for token in tokens)
    assert not pattern.search("[unused1000] <t> [x] <|b|>")
    assert pattern.pattern.count("unused") == 1
    assert spelling_pattern([]) is None
