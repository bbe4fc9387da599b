"""Converts a tiktoken.model to a tokenizer.json: besides it, Kimi K2's repository has only remote code."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

from models.checkpoint.files import JsonObject, read_json_file, read_text_file
from models.interface import ModelError

TIKTOKEN_FILE = "tiktoken.model"
# The tokenizer class in the repository's code, which decides how text is split. No other is supported.
KIMI = "TikTokenTokenizer"
# moonshotai/Kimi-K2-Instruct-0905, tokenization_kimi.py: pat_str, and how many ids after the vocabulary are reserved.
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
SPLIT = "|".join(
    (
        r"[\p{Han}]+",
        rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{SHORT}",
        rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{SHORT}",
        *(r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"),
    )
)
RESERVED = 256
# Every split of a token into two parts is tried. Kimi's longest token has 128 bytes.
MAX_TOKEN_BYTES = 1024


def read_tiktoken(folder: Path) -> str:
    """The text of a tokenizer.json that gives the same ids.

    Raises: ModelError: the file is damaged, or its tokenizer class is not supported.
    """
    config = _config(folder)
    if config.get("tokenizer_class") != KIMI:
        raise ModelError(
            f"{folder} has a {TIKTOKEN_FILE} in place of tokenizer.json, and its tokenizer class is not supported: "
            f"{config.get('tokenizer_class')}"
        )
    ranks = _ranks(folder / TIKTOKEN_FILE)
    symbols = _symbols()
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_added(number, name) for number, name in _special(config, len(ranks))],
            "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
            "post_processor": level,
            "decoder": level,
            "model": {
                "type": "BPE",
                "vocab": {_spell(token, symbols): rank for token, rank in ranks.items()},
                "merges": [[_spell(part, symbols) for part in pair] for pair in _merges(ranks)],
                # tiktoken takes a piece that is a token as it is, however it would be merged.
                "ignore_merges": True,
            },
        }
    )


def _config(folder: Path) -> JsonObject:
    config = read_json_file(folder / "tokenizer_config.json")
    if not isinstance(config, dict):
        raise ModelError(f"{folder} has a {TIKTOKEN_FILE}, which needs tokenizer_config.json beside it")
    return config


def _ranks(file: Path) -> dict[bytes, int]:
    """Every token's bytes and its rank, which is its id; each line of the file holds one, the bytes in base64."""
    try:
        pairs = (line.split() for line in (read_text_file(file) or "").splitlines() if line)
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except ValueError as error:
        raise ModelError(f"{file} is damaged: {error}") from error
    if (longest := max(map(len, ranks), default=0)) > MAX_TOKEN_BYTES:
        raise ModelError(f"{file} is damaged: a token has {longest} bytes, more than {MAX_TOKEN_BYTES}")
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise ModelError(f"{file} is damaged: its ranks are not the numbers from 0 to {len(ranks) - 1}")
    return ranks


def _merges(ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """Pairs in the order in which they merge. tiktoken has no pairs: whichever two parts make the lowest rank merge."""
    for token, _ in sorted(ranks.items(), key=lambda item: item[1]):
        halves = ((token[:place], token[place:]) for place in range(1, len(token)))
        known = [pair for pair in halves if pair[0] in ranks and pair[1] in ranks]
        yield from sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))


def _special(config: JsonObject, first: int) -> Iterator[tuple[int, str]]:
    named = {int(number): str(token["content"]) for number, token in config.get("added_tokens_decoder", {}).items()}
    for number in range(first, first + RESERVED):
        yield number, named.get(number, f"<|reserved_token_{number}|>")


def _added(number: int, content: str) -> JsonObject:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, "special": True, **plain}


def _symbols() -> list[str]:
    # GPT-2's encoder.py, bytes_to_unicode: bytes that print stand for themselves, others for characters from 256 on.
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(256, 512))
    return [chr(byte if byte in printable else next(hidden)) for byte in range(256)]


def _spell(token: bytes, symbols: list[str]) -> str:
    return "".join(symbols[byte] for byte in token)
