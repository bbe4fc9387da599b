"""Embedders with random weights in the shape of published models, written as folders that every contender loads."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

from benchmarks.support.workloads import LETTERS, TERMINATOR, TERMINATOR_ID

# config.json of Qwen/Qwen3-Embedding-0.6B.
QWEN3_06B: dict[str, Any] = {
    "vocab_size": 151669,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 32768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "tie_word_embeddings": True,
}


def qwen3_embedder(folder: Path, **config: Any) -> Path:
    """Write a bfloat16 Qwen3 embedder with a byte-level tokenizer: one token a letter, and a terminator.

    Args:
        folder: made if it is missing.
        config: entries of config.json that replace those of Qwen3-Embedding-0.6B.
    """
    torch.manual_seed(0)
    network = Qwen3Model(Qwen3Config(**QWEN3_06B | config)).to(torch.bfloat16)
    network.save_pretrained(folder)
    _byte_level_tokenizer().save_pretrained(folder)
    _write_modules(folder, network.config.hidden_size, "lasttoken")
    return folder


def bert_embedder(folder: Path) -> Path:
    """Write a float32 embedder of BERT-base's shape with mean pooling, and a WordPiece vocabulary of letters."""
    torch.manual_seed(0)
    tokenizer = _wordpiece_tokenizer()
    # BertConfig's defaults are the shape of bert-base-uncased.
    network = BertModel(BertConfig(vocab_size=len(tokenizer)), add_pooling_layer=False)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _write_modules(folder, network.config.hidden_size, "mean_tokens")
    limits = {"max_seq_length": network.config.max_position_embeddings, "do_lower_case": False}
    _write_json(folder / "sentence_bert_config.json", limits)
    return folder


def _byte_level_tokenizer() -> PreTrainedTokenizerFast:
    # Sorted by code point, the alphabet has GPT-2's order, in which "!" is the first.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: number for number, symbol in enumerate(alphabet)}, []))
    tokenizer.add_special_tokens([AddedToken(TERMINATOR, normalized=False)])
    assert tokenizer.token_to_id(TERMINATOR) == TERMINATOR_ID, "the workloads count on this id"
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {TERMINATOR}", special_tokens=[(TERMINATOR, TERMINATOR_ID)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=TERMINATOR, pad_token=TERMINATOR)


def _wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS]
    tokenizer = Tokenizer(models.WordPiece({token: number for number, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", tokens.index("[CLS]")), ("[SEP]", tokens.index("[SEP]"))]
    )
    roles = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **roles)


def _write_modules(folder: Path, hidden_size: int, pooling_mode: str) -> None:
    steps = ("", "Transformer"), ("1_Pooling", "Pooling")
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(steps)
    ]
    _write_json(folder / "modules.json", modules)
    pooling = {"word_embedding_dimension": hidden_size, "include_prompt": True}
    modes = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
    pooling |= {f"pooling_mode_{mode}": mode == pooling_mode for mode in modes}
    _write_json(folder / "1_Pooling" / "config.json", pooling)


def _write_json(file: Path, document: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2), "utf-8")
