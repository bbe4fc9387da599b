"""Converts the vocabulary of a GGUF file to a tokenizer.json, for a file that has none beside it."""

import json

from models.checkpoint.files import JsonObject
from models.checkpoint.formats.gguf import GgufFile
from models.interface import ModelError

# llama.cpp, LLAMA_TOKEN_TYPE.
CONTROL, USER_DEFINED = 3, 4
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def _split(numbers: str) -> list[JsonObject]:
    pattern = rf"{_SHORT}|{_WORD}|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
    return [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
        _LEVEL,
    ]


# `tokenizer.ggml.pre`: how each family splits a text before its merges, as in its own tokenizer.json.
SPLITS: dict[str, list[JsonObject]] = {
    "smollm": [{"type": "Digits", "individual_digits": True}, _LEVEL | {"use_regex": True}],
    "qwen2": _split(r"\p{N}"),
    "llama-bpe": _split(r"\p{N}{1,3}"),
}
NORMALIZERS = {"qwen2": {"type": "NFC"}}
# Llama 3 takes a piece that is a token as it is, and begins each text with a token unless the file says otherwise.
LLAMA_3 = "llama-bpe"
_ADVICE = "put the model's own tokenizer.json beside the file"


def gguf_tokenizer(file: GgufFile) -> str:
    """The text of a tokenizer.json that gives the same ids.

    Raises: ModelError: the vocabulary is of a kind that is not supported, or damaged.
    """
    metadata = file.metadata
    kind, split = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind != "gpt2" or split not in SPLITS:
        raise ModelError(
            f"{file.path} has a vocabulary that is not supported ({kind}, {split}; supported: gpt2 with one of "
            f"{', '.join(SPLITS)}); {_ADVICE}"
        )
    tokens, merges = _texts(file, "tokens"), _texts(file, "merges")
    types: list[int] = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    if (
        len(set(tokens)) != len(tokens)
        or len(types) != len(tokens)
        or any(len(pair.split(" ")) != 2 for pair in merges)
    ):
        raise ModelError(f"{file.path} has a vocabulary that is damaged; {_ADVICE}")
    added = [
        _added(number, token, special=kind == CONTROL)
        for number, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": NORMALIZERS.get(split),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": SPLITS[split]},
        "post_processor": _around(file, tokens, begins=split == LLAMA_3),
        "decoder": _LEVEL | {"use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [pair.split(" ") for pair in merges],
            "ignore_merges": split == LLAMA_3,
        },
    }
    return json.dumps(document)


def _texts(file: GgufFile, key: str) -> list[str]:
    found = file.metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(found, list):
        raise ModelError(f"{file.path} has no tokenizer.ggml.{key} in its metadata; {_ADVICE}")
    return found


def _around(file: GgufFile, tokens: list[str], *, begins: bool) -> JsonObject | None:
    """The tokens that stand before and after each text."""
    metadata = file.metadata
    first = _token(file, tokens, "bos") if metadata.get("tokenizer.ggml.add_bos_token", begins) else None
    last = _token(file, tokens, "eos") if metadata.get("tokenizer.ggml.add_eos_token", False) else None
    if first is None and last is None:
        return _LEVEL
    text = [{"Sequence": {"id": "A", "type_id": 0}}]
    before, after = ([{"SpecialToken": {"id": it, "type_id": 0}}] if it else [] for it in (first, last))
    single = [*before, *text, *after]
    pair = [*single, *before, {"Sequence": {"id": "B", "type_id": 0}}, *after]
    special = {it: {"id": it, "ids": [tokens.index(it)], "tokens": [it]} for it in (first, last) if it}
    template = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}
    return {"type": "Sequence", "processors": [_LEVEL, template]}


def _token(file: GgufFile, tokens: list[str], role: str) -> str:
    number = file.metadata.get(f"tokenizer.ggml.{role}_token_id")
    if type(number) is not int or number >= len(tokens):
        raise ModelError(f"{file.path} adds a token to each text, and does not say which ({role}); {_ADVICE}")
    return tokens[number]


def _added(number: int, content: str, *, special: bool) -> JsonObject:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, "special": special, **plain}
