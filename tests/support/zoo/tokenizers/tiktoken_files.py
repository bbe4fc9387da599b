"""A small tiktoken.model as Kimi K2's repository has it, and its conversion by the library."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from transformers.convert_slow_tokenizer import TikTokenConverter

from models.text.tiktoken_converter import SPLIT
from tests.support.checkpoints.vocabulary import byte_symbols
from tests.support.zoo.tokenizers.vocabularies import Vocabulary

RESERVED = 256


def write_tiktoken(folder: Path, vocabulary: Vocabulary, tokens: Sequence[str]) -> dict[str, int]:
    """Write tiktoken.model and tokenizer_config.json; returns every token's id, the reserved ones too."""
    ranks = {token: rank for rank, token in enumerate(dict.fromkeys(tokens))}
    values = {symbol: byte for byte, symbol in zip(_bytes_in_order(), byte_symbols(), strict=True)}
    lines = [
        f"{base64.b64encode(bytes(values[symbol] for symbol in token)).decode()} {rank}"
        for token, rank in ranks.items()
    ]
    (folder / "tiktoken.model").write_text("\n".join(lines) + "\n", "ascii")
    special = {token: len(ranks) + number for number, token in enumerate(vocabulary.last)}
    named = {str(number): {"content": token, "special": True} for token, number in special.items()}
    config = {**dict(vocabulary.roles), "tokenizer_class": vocabulary.tokenizer_class, **dict(vocabulary.settings)}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"added_tokens_decoder": named}), "utf-8")
    reserved = range(len(ranks) + len(special), len(ranks) + RESERVED)
    return ranks | special | {f"<|reserved_token_{number}|>": number for number in reserved}


def convert(folder: Path) -> None:
    """Put the tokenizer.json beside it that transformers makes of a tiktoken.model."""
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    names = [token["content"] for token in config.pop("added_tokens_decoder").values()]
    converter = TikTokenConverter(str(folder / "tiktoken.model"), pattern=SPLIT, extra_special_tokens=names)
    converter.converted().save(str(folder / "tokenizer.json"))
    config.pop("auto_map")
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")


def _bytes_in_order() -> list[int]:
    # The order of byte_symbols(): those that print, then the rest.
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*printable, *(byte for byte in range(256) if byte not in printable)]
