"""A byte-level tokenizer.json of Qwen3's form with 286 ids: small enough to write for each test."""

import json
from collections.abc import Sequence
from pathlib import Path

# Qwen3's 26 added tokens in their order; the first 14 are `special`.
ADDED = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>"),
    *("<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>"),
)
SPECIAL = 14
TERMINATOR = "<|endoftext|>"

# Qwen2/Qwen3 tokenizer.json, pre_tokenizer.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# "yes", "no" and two newlines are single tokens, as in Qwen3's vocabulary.
MERGES = [("y", "e"), ("ye", "s"), ("n", "o"), ("Ċ", "Ċ")]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


def write_tokenizer(folder: Path, *, terminator: bool, merges: Sequence[tuple[str, str]] = MERGES) -> None:
    """Write tokenizer.json; with `terminator` it ends each text with <|endoftext|>, as an embedder's does."""
    # The vocabulary is the same with fewer merges: a symbol that nothing makes is never used.
    vocabulary = {symbol: number for number, symbol in enumerate([*byte_symbols(), *("".join(m) for m in MERGES)])}
    added = [_added(len(vocabulary) + number, token, number < SPECIAL) for number, token in enumerate(ADDED)]
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, BYTE_LEVEL]},
        "post_processor": _with_terminator(len(vocabulary)) if terminator else BYTE_LEVEL,
        "decoder": BYTE_LEVEL,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [list(merge) for merge in merges]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(document), "utf-8")


def byte_symbols() -> list[str]:
    # GPT-2's mapping: bytes that print stand for themselves, the rest for the characters from 256 on.
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(code) for code in (*printable, *range(256, 256 + len(hidden)))]


def _added(number: int, content: str, special: bool) -> dict[str, object]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, "special": special, **plain}


def _with_terminator(number: int) -> dict[str, object]:
    single = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": TERMINATOR, "type_id": 0}}]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": TERMINATOR, "type_id": 1}}]
    known = {TERMINATOR: {"id": TERMINATOR, "ids": [number], "tokens": [TERMINATOR]}}
    template = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known}
    return {"type": "Sequence", "processors": [BYTE_LEVEL, template]}
