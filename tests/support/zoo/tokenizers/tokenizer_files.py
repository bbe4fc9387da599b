"""tokenizer.json of the published kinds, small: WordPiece, unigram, byte-level and metaspace BPE over the words below.

They differ from the real ones in size only: the same normaliser, pre-tokeniser, post-processor and special tokens.
"""

import json
from pathlib import Path
from typing import Any

from tests.support.checkpoints.vocabulary import byte_symbols
from tests.support.zoo.tokenizers.tiktoken_files import write_tiktoken
from tests.support.zoo.tokenizers.vocabularies import Vocabulary

JsonObject = dict[str, Any]

WORDS = (
    *("the", "of", "and", "to", "in", "is", "a", "for", "that", "capital", "city", "france", "paris", "largest"),
    *("planet", "red", "mars", "known", "query", "document", "search", "what", "which", "gravity", "force"),
    *("water", "boils", "level", "refund", "days", "account", "museum", "home", "value", "return", "def"),
)
SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"()[]{}<>/-+*=_|#日本語のテキスト"


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> dict[str, int]:
    """Write tokenizer.json and tokenizer_config.json; returns every token's id."""
    if vocabulary.model == "tiktoken":
        return write_tiktoken(folder, vocabulary, _byte_level()[0])
    ordinary, merges = _MODELS[vocabulary.model]()
    ids = {token: number for number, token in enumerate(dict.fromkeys((*vocabulary.first, *ordinary)))}
    last = {token: len(ids) + number for number, token in enumerate(vocabulary.last)}
    document = {
        "version": "1.0",
        "truncation": _truncation(vocabulary),
        "padding": _padding(vocabulary, ids),
        "added_tokens": [
            _added(number, token, special=at < (vocabulary.special or len(last) + len(ids)))
            for at, (token, number) in enumerate(_special_ids(vocabulary, ids | last).items())
        ],
        **_pipeline(vocabulary, ids | last),
        "model": _model(vocabulary, ids, merges),
    }
    (folder / "tokenizer.json").write_text(json.dumps(document), "utf-8")
    config = {**dict(vocabulary.roles), "tokenizer_class": vocabulary.tokenizer_class, **dict(vocabulary.settings)}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return ids | last


def _wordpiece() -> tuple[list[str], list[list[str]]]:
    return [*SYMBOLS, *WORDS, *(f"##{symbol}" for symbol in SYMBOLS), "##s", "##ed", "##ing"], []


def _unigram() -> tuple[list[str], list[list[str]]]:
    return ["▁", *(f"▁{word}" for word in WORDS), *WORDS, *SYMBOLS], []


def _byte_level() -> tuple[list[str], list[list[str]]]:
    symbols = byte_symbols()
    merges = _merges([f"Ġ{word}" for word in WORDS] + list(WORDS) + ["yes", "no", "Yes", "No", "ĊĊ"])
    return [*symbols, *("".join(merge) for merge in merges)], merges


def _metaspace() -> tuple[list[str], list[list[str]]]:
    merges = _merges([f"▁{word}" for word in WORDS] + list(WORDS))
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    return [*fallback, "▁", *SYMBOLS, *("".join(merge) for merge in merges)], merges


_MODELS = {"wordpiece": _wordpiece, "unigram": _unigram, "byte-level": _byte_level, "metaspace": _metaspace}


def _merges(words: list[str]) -> list[list[str]]:
    splits: dict[str, list[str]] = {}
    for word in words:
        for end in range(1, len(word)):
            splits.setdefault(word[: end + 1], [word[:end], word[end]])
    return list(splits.values())


def _model(vocabulary: Vocabulary, ids: dict[str, int], merges: list[list[str]]) -> JsonObject:
    match vocabulary.model:
        case "wordpiece":
            unknown, words = dict(vocabulary.roles)["unk_token"], ids
            return {"type": "WordPiece", "vocab": words, "unk_token": unknown, "continuing_subword_prefix": "##"} | {
                "max_input_chars_per_word": 100
            }
        case "unigram":
            scores = [[token, -0.5 * number**0.5 if number > 3 else 0.0] for token, number in ids.items()]
            return {"type": "Unigram", "unk_id": ids[dict(vocabulary.roles)["unk_token"]], "vocab": scores}
        case "byte-level":
            return {"type": "BPE", "vocab": ids, "merges": merges}
        case "metaspace":
            unknown = dict(vocabulary.roles).get("unk_token")
            return {"type": "BPE", "vocab": ids, "merges": merges, "unk_token": unknown} | {
                "byte_fallback": True,
                "fuse_unk": True,
            }


def _pipeline(vocabulary: Vocabulary, ids: dict[str, int]) -> JsonObject:
    """Normaliser, pre-tokeniser, post-processor and decoder of each kind, as their published files have them."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    bert = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": vocabulary.lowercase}
    template = _template(vocabulary, ids)
    match vocabulary.model:
        case "wordpiece":
            normalizer: object = {"type": "BertNormalizer", **bert}
            before: object = {"type": "BertPreTokenizer"}
            decoder: object = {"type": "WordPiece", "prefix": "##", "cleanup": True}
        case "unigram":
            normalizer = vocabulary.normalizer
            before = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, meta]}
            decoder = meta
        case "byte-level":
            split = {"type": "Split", "pattern": {"Regex": vocabulary.split}, "behavior": "Isolated", "invert": False}
            normalizer = {"type": "NFC"}
            before = {"type": "Sequence", "pretokenizers": [split, level]}
            decoder = level
            template = {"type": "Sequence", "processors": [level, template]} if template else level
        case "metaspace":
            replaced = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
            normalizer, before = replaced, None
            back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
            decoder = {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}]}
    return {"normalizer": normalizer, "pre_tokenizer": before, "post_processor": template, "decoder": decoder}


def _template(vocabulary: Vocabulary, ids: dict[str, int]) -> JsonObject | None:
    if vocabulary.single is None:
        return None
    pair = vocabulary.pair or vocabulary.single.replace("A", "A B")
    used = {word for word in (*vocabulary.single.split(), *pair.split()) if word not in ("A", "B")}
    return {
        "type": "TemplateProcessing",
        "single": _parts(vocabulary.single, 0),
        "pair": _parts(pair, vocabulary.second_type),
        "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in sorted(used)},
    }


def _parts(template: str, second_type: int) -> list[JsonObject]:
    parts, words = [], template.split()
    second = words.index("B") if "B" in words else len(words)
    for number, word in enumerate(words):
        kind = "Sequence" if word in ("A", "B") else "SpecialToken"
        parts.append({kind: {"id": word, "type_id": second_type if number >= second else 0}})
    return parts


def _truncation(vocabulary: Vocabulary) -> JsonObject | None:
    if vocabulary.cuts_at is None:
        return None
    return {"direction": "Right", "max_length": vocabulary.cuts_at, "strategy": "LongestFirst", "stride": 0}


def _padding(vocabulary: Vocabulary, ids: dict[str, int]) -> JsonObject | None:
    if vocabulary.cuts_at is None:
        return None
    token = dict(vocabulary.roles)["pad_token"]
    rest = {"direction": "Right", "pad_to_multiple_of": None, "pad_id": ids[token], "pad_type_id": 0}
    return {"strategy": {"Fixed": vocabulary.cuts_at}, "pad_token": token, **rest}


def _special_ids(vocabulary: Vocabulary, ids: dict[str, int]) -> dict[str, int]:
    named = (*(token for token in vocabulary.first if token[0] in "[<"), *vocabulary.last)
    return {token: ids[token] for token in named if not token.startswith("[unused")}


def _added(number: int, content: str, *, special: bool) -> JsonObject:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, "special": special, **plain}
