"""The tokenizers of the zoo's models: their special tokens, what they add to a text, and what their files say of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.support.checkpoints.vocabulary import ADDED, SPECIAL, SPLIT

Model = Literal["wordpiece", "unigram", "byte-level", "metaspace", "tiktoken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """One tokenizer: its model, its special tokens with their published ids' order, and what it adds to a text.

    `first`: special tokens at the front of the table; `last`: behind the ordinary tokens.
    `single`, `pair`: the post-processor's templates, "A" and "B" being the texts; None: nothing is added.
    `settings`: what tokenizer_config.json says beyond the tokens' roles.
    """

    model: Model
    tokenizer_class: str
    roles: tuple[tuple[str, str], ...]  # ("cls_token", "[CLS]"), ...
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    single: str | None = None
    pair: str | None = None
    second_type: int = 0  # type id of the second text, and of what follows it
    lowercase: bool = False
    special: int | None = None  # how many of the added tokens are marked special; None: all
    split: str | None = SPLIT
    # For unigram only. Published files have sentencepiece's character map here, which the library drops.
    normalizer: Mapping[str, Any] | None = None
    cuts_at: int | None = None  # some published files cut and pad, and must not be believed
    settings: tuple[tuple[str, Any], ...] = ()


BERT_WORDS = Vocabulary(
    model="wordpiece",
    tokenizer_class="BertTokenizer",
    roles=(
        *(("pad_token", "[PAD]"), ("unk_token", "[UNK]"), ("cls_token", "[CLS]"), ("sep_token", "[SEP]")),
        ("mask_token", "[MASK]"),
    ),
    # [UNK] is 100 and [CLS] 101, as in bert-base-uncased.
    first=("[PAD]", *(f"[unused{number}]" for number in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    single="[CLS] A [SEP]",
    pair="[CLS] A [SEP] B [SEP]",
    second_type=1,
    lowercase=True,
    settings=(("do_lower_case", True), ("model_max_length", 512)),
)
MINILM_WORDS = replace(BERT_WORDS, cuts_at=128)
MULTILINGUAL_WORDS = Vocabulary(
    model="unigram",
    tokenizer_class="PreTrainedTokenizerFast",
    roles=(
        *(("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")),
        *(("cls_token", "<s>"), ("sep_token", "</s>"), ("mask_token", "<mask>")),
    ),
    first=("<s>", "<pad>", "</s>", "<unk>"),
    last=("<mask>",),
    single="<s> A </s>",
    pair="<s> A </s> </s> B </s>",
    settings=(("model_max_length", 512),),
)
QWEN3_WORDS = Vocabulary(
    model="byte-level",
    tokenizer_class="Qwen2Tokenizer",
    roles=(("eos_token", "<|im_end|>"), ("pad_token", "<|endoftext|>")),
    last=ADDED,
    special=SPECIAL,
    settings=(("add_bos_token", False), ("errors", "replace"), ("model_max_length", 131072)),
)
QWEN3_EMBEDDING_WORDS = replace(QWEN3_WORDS, single="A <|endoftext|>", pair="A <|endoftext|> B <|endoftext|>")
# The LLMs' lists of special tokens are longer in truth.
GLM_WORDS = Vocabulary(
    model="byte-level",
    tokenizer_class="PreTrainedTokenizerFast",
    roles=(("eos_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")),
    last=("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>"),
    settings=(("padding_side", "left"), ("model_max_length", 128000), ("do_lower_case", False)),
)
GPT_OSS_WORDS = Vocabulary(
    model="byte-level",
    tokenizer_class="PreTrainedTokenizerFast",
    roles=(("bos_token", "<|startoftext|>"), ("eos_token", "<|return|>"), ("pad_token", "<|endoftext|>")),
    last=("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>"),
)
# tokenizer.json adds nothing; tokenizer_config.json asks for the BOS, and the library's class adds it:
# https://github.com/huggingface/swift-transformers/issues/161
DEEPSEEK_WORDS = Vocabulary(
    model="byte-level",
    tokenizer_class="LlamaTokenizerFast",
    roles=(
        *(("bos_token", "<｜begin▁of▁sentence｜>"), ("eos_token", "<｜end▁of▁sentence｜>")),
        ("pad_token", "<｜end▁of▁sentence｜>"),
    ),
    first=("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"),
    settings=(("add_bos_token", True), ("add_eos_token", False), ("legacy", True), ("model_max_length", 16384)),
)
# The repository has a tiktoken.model and code of its own, no tokenizer.json.
KIMI_WORDS = Vocabulary(
    model="tiktoken",
    tokenizer_class="TikTokenTokenizer",
    roles=(("bos_token", "[BOS]"), ("eos_token", "[EOS]"), ("unk_token", "[UNK]"), ("pad_token", "[PAD]")),
    last=("[BOS]", "[EOS]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", "[UNK]", "[PAD]"),
    settings=(
        ("auto_map", {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", None]}),
        ("clean_up_tokenization_spaces", False),
    ),
)
XLM_ROBERTA_WORDS = replace(MULTILINGUAL_WORDS, tokenizer_class="XLMRobertaTokenizer")
BGE_M3_WORDS = replace(XLM_ROBERTA_WORDS, settings=(("model_max_length", 8192),))
MPNET_WORDS = Vocabulary(
    model="wordpiece",
    tokenizer_class="MPNetTokenizer",
    roles=(
        *(("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "[UNK]"), ("pad_token", "<pad>")),
        *(("cls_token", "<s>"), ("sep_token", "</s>"), ("mask_token", "<mask>")),
    ),
    first=("<s>", "<pad>", "</s>", "<unk>", "[UNK]"),
    last=("<mask>",),
    single="<s> A </s>",
    pair="<s> A </s> </s> B </s>",
    lowercase=True,
    settings=(("do_lower_case", True), ("model_max_length", 512)),
)
MODERNBERT_WORDS = Vocabulary(
    model="byte-level",
    tokenizer_class="PreTrainedTokenizerFast",
    roles=(
        *(("unk_token", "[UNK]"), ("cls_token", "[CLS]"), ("sep_token", "[SEP]"), ("pad_token", "[PAD]")),
        *(("mask_token", "[MASK]"), ("bos_token", "[CLS]"), ("eos_token", "[SEP]")),
    ),
    last=("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"),
    single="[CLS] A [SEP]",
    pair="[CLS] A [SEP] B [SEP]",
    split=r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    settings=(("model_max_length", 8192), ("model_input_names", ["input_ids", "attention_mask"])),
)
GEMMA_WORDS = Vocabulary(
    model="metaspace",
    tokenizer_class="GemmaTokenizerFast",
    roles=(("bos_token", "<bos>"), ("eos_token", "<eos>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")),
    first=("<pad>", "<eos>", "<bos>", "<unk>"),
    single="<bos> A <eos>",
    settings=(("add_bos_token", True), ("add_eos_token", True), ("model_max_length", 2048)),
)
MISTRAL_WORDS = Vocabulary(
    model="metaspace",
    tokenizer_class="LlamaTokenizerFast",
    roles=(("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "</s>")),
    first=("<unk>", "<s>", "</s>"),
    single="<s> A </s>",
    settings=(("add_bos_token", True), ("add_eos_token", True), ("legacy", True), ("model_max_length", 4096)),
)
LLAMA_WORDS = Vocabulary(
    model="byte-level",
    tokenizer_class="PreTrainedTokenizerFast",
    roles=(("bos_token", "<|begin_of_text|>"), ("eos_token", "<|eot_id|>")),
    last=("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    single="<|begin_of_text|> A",
    settings=(("model_input_names", ["input_ids", "attention_mask"]), ("model_max_length", 131072)),
)
DEBERTA_WORDS = Vocabulary(
    model="unigram",
    tokenizer_class="DebertaV2Tokenizer",
    roles=(
        *(("cls_token", "[CLS]"), ("sep_token", "[SEP]"), ("unk_token", "[UNK]"), ("pad_token", "[PAD]")),
        *(("mask_token", "[MASK]"), ("bos_token", "[CLS]"), ("eos_token", "[SEP]")),
    ),
    first=("[PAD]", "[CLS]", "[SEP]", "[UNK]"),
    last=("[MASK]",),
    single="[CLS] A [SEP]",
    pair="[CLS] A [SEP] B [SEP]",
    second_type=1,
    # The library's class, whatever tokenizer.json has.
    normalizer={
        "type": "Sequence",
        "normalizers": [
            {"type": "Replace", "pattern": {"Regex": r"\s{2,}|[\n\r\t]"}, "content": " "},
            {"type": "NFC"},
            {"type": "Strip", "strip_left": False, "strip_right": True},
        ],
    },
    settings=(("do_lower_case", False), ("split_by_punct", False), ("model_max_length", 512)),
)
T5_WORDS = Vocabulary(
    model="unigram",
    tokenizer_class="T5Tokenizer",
    roles=(("eos_token", "</s>"), ("unk_token", "<unk>"), ("pad_token", "<pad>")),
    first=("<pad>", "</s>", "<unk>"),
    single="A </s>",
    settings=(("extra_ids", 0), ("model_max_length", 512)),
)
