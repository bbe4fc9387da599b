"""The tokenizer for what users send: control tokens out of reach, everything else as it was."""

from models.text.added_tokens import is_spaces
from models.text.tokenizer import unknown_token, without_control_tokens


def added(content: str) -> dict[str, object]:
    return {"id": 0, "content": content, "special": False}


def test_runs_of_spaces_are_text_and_control_tokens_are_not() -> None:
    document = {"added_tokens": [added("<|im_end|>"), added("    "), added("\n\n"), added("▁▁")], "model": {}}

    kept = without_control_tokens(document)["added_tokens"]

    assert [token["content"] for token in kept[1:]] == ["    ", "\n\n", "▁▁"]
    assert kept[0]["content"] not in ("<|im_end|>", without_control_tokens(document)["added_tokens"][0]["content"])
    assert [is_spaces({"content": text}) for text in ("a", " a", "\t")] == [False, False, True]


def test_a_control_token_that_is_in_the_vocabulary_takes_no_place_in_the_list() -> None:
    document = {"added_tokens": [added("[CLS]"), added("  ")], "model": {"vocab": {"[CLS]": 0}}}

    assert without_control_tokens(document)["added_tokens"] == [added("  ")]


def test_a_unigram_vocabulary_keeps_its_ids_and_loses_the_spelling_of_its_control_tokens() -> None:
    model = {"type": "Unigram", "unk_id": 2, "vocab": [["<s>", 0.0], ["a", -1.0], ["<unk>", 0.0]]}

    changed = without_control_tokens({"added_tokens": [added("<s>")], "model": model})["model"]

    assert changed["vocab"] == [["<s> ", 0.0], ["a", -1.0], ["<unk>", 0.0]]


def test_the_unknown_token_is_named_by_place_or_by_spelling() -> None:
    assert unknown_token({"unk_id": 1, "vocab": [["a", 0.0], ["<unk>", 0.0]]}) == "<unk>"
    assert unknown_token({"unk_token": "[UNK]", "vocab": {}}) == "[UNK]"
    assert unknown_token({"vocab": {}}) is None
