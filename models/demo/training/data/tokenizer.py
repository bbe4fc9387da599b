"""The pair's own byte-level BPE and its tokenizer files. Same shape as Qwen3's, another vocabulary."""

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from models.demo.training.data import spellings
from models.demo.training.data.words import Word

# QwenLM/Qwen3 tokenizer.json, pre_tokenizer: single digits, words with one leading space, runs of newlines. There any
# mark may lead a word, and merges part them again; here whole words are looked up, and "Query:How" must hold "How".
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[ <]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTROL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
MARKUP = [
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
]
# The programs that ask for logits by id use Qwen3's ids, so the words stand at the same places here.
FIXED = {"no": 2152, "No": 2753, "Yes": 9454, "yes": 9693}
END = "<|endoftext|>"
FRAME = (
    "system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note "
    'that the answer can only be "yes" or "no".\n\n user\nassistant\n\n\nInstruct: Given a web search query, retrieve '
    "relevant passages that answer the query\nQuery: Query:What? <Instruct>: x?\n<Query>: x.\n"
    "<Document>: Document Yes No yes no\n"
)
MODEL_MAX_LENGTH = 8192


def train(words: list[Word], sentences: list[str], *, pieces: int, entries: int) -> Tokenizer:
    """A BPE of `pieces` entries and the most frequent whole words; `entries` in all with the 26 added tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()

    weighted = list(spellings.counts(words))

    def lines() -> Iterator[str]:
        for spelling, frequency in weighted:
            yield from [spelling] * round(frequency * 1e6)
        yield from sentences
        yield from [FRAME] * 3000

    trainer = trainers.BpeTrainer(
        vocab_size=pieces,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines(), trainer)
    weighted.sort(key=lambda pair: (-pair[1], pair[0]))
    whole = [*FIXED, *(spelling.replace(" ", "Ġ") for spelling, _ in weighted)]
    layout = json.loads(tokenizer.to_str())
    return Tokenizer.from_str(json.dumps(_arranged(layout, whole, entries - len(CONTROL) - len(MARKUP))))


def _arranged(layout: dict[str, object], whole: list[str], vocabulary: int) -> dict[str, object]:
    """Add whole words, put the fixed words at their ids, then the added tokens after the vocabulary."""
    model = layout["model"]
    assert isinstance(model, dict), "a tokenizer without a model: this is a bug"
    order: list[str] = sorted(model["vocab"], key=lambda token: model["vocab"][token])
    order = list(dict.fromkeys(order + whole))[:vocabulary]
    # Whole words need no chain of merges below them, which would cost a third of so small a vocabulary.
    model["ignore_merges"] = True
    for token, place in FIXED.items():
        here = order.index(token)
        order[here], order[place] = order[place], order[here]
    model["vocab"] = {token: index for index, token in enumerate(order)}
    layout["added_tokens"] = [
        {"id": len(order) + index, "content": content, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": content in CONTROL}
        for index, content in enumerate(CONTROL + MARKUP)
    ]
    layout["post_processor"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    return layout


def following(tokenizer: Tokenizer) -> Tokenizer:
    """The same entries for texts that follow a space: whole words that would begin a text now follow one."""
    layout = json.loads(tokenizer.to_str())
    vocabulary: dict[str, int] = layout["model"]["vocab"]
    pieces = {"".join(pair) for pair in layout["model"]["merges"]} | set(FIXED)
    renamed = {
        token: f"Ġ{token}"
        for token in vocabulary
        if len(token) > 1 and token.isalpha() and token[0] != "Ġ" and token not in pieces
    }
    free = {token: name for token, name in renamed.items() if name not in vocabulary}
    layout["model"]["vocab"] = {free.get(token, token): index for token, index in vocabulary.items()}
    return Tokenizer.from_str(json.dumps(layout))


def end_id(tokenizer: Tokenizer) -> int:
    """The terminator's id."""
    token_id = tokenizer.token_to_id(END)
    assert token_id is not None, "the tokenizer has no terminator: this is a bug"
    return int(token_id)


def save(tokenizer: Tokenizer, folder: Path, *, terminator: bool) -> None:
    """Write tokenizer.json and tokenizer_config.json; with `terminator` every text ends with <|endoftext|>."""
    layout = json.loads(tokenizer.to_str())
    if terminator:
        layout["post_processor"] = _ending(layout["post_processor"], end_id(tokenizer))
    added = {
        str(token["id"]): {key: value for key, value in token.items() if key != "id"}
        for token in layout["added_tokens"]
    }
    settings = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": CONTROL[1:],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": MODEL_MAX_LENGTH,
        "pad_token": END,
        "split_special_tokens": False,
        # Qwen2Tokenizer would rebuild the BPE without ignore_merges (transformers 5.23).
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None,
    }
    (folder / "tokenizer.json").write_text(json.dumps(layout, ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def _ending(byte_level: dict[str, object], end_id: int) -> dict[str, object]:
    # Qwen3-Embedding's tokenizer.json: Sequence[ByteLevel, TemplateProcessing(A <|endoftext|>)].
    def sequence(name: str, type_id: int) -> list[dict[str, object]]:
        return [{"Sequence": {"id": name, "type_id": type_id}}, {"SpecialToken": {"id": END, "type_id": type_id}}]

    template = {
        "type": "TemplateProcessing",
        "single": sequence("A", 0),
        "pair": sequence("A", 0) + sequence("B", 1),
        "special_tokens": {END: {"id": END, "ids": [end_id], "tokens": [END]}},
    }
    return {"type": "Sequence", "processors": [byte_level, template]}
