"""Random rerankers with a classification head, as sentence-transformers' CrossEncoder loads them."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from models import load_preprocessor
from tests.support.checkpoints.vocabulary import TERMINATOR, write_tokenizer

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.3,
    "num_labels": 1,
}
WORDS = ("what", "is", "the", "capital", "of", "france", "paris", "mars", "a", "planet", "red", "##s", "?", ".", ",")


def fold_head(reranker: Path, folder: Path, **config: Any) -> Path:
    """Write a Qwen3 reranker as Qwen3ForSequenceClassification: score.weight = W[yes] - W[no], in float64.

    As vLLM's convert_model_to_seq_cls.py and the published Qwen3-Reranker-*-seq-cls do it.
    """
    no_yes = load_preprocessor(reranker).info.no_yes
    assert no_yes, "only rerankers are folded"
    shutil.copytree(reranker, folder)
    entries = json.loads((folder / "config.json").read_text("utf-8"))
    entries |= {"architectures": ["Qwen3ForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    (folder / "config.json").write_text(
        json.dumps(entries | {"label2id": {"LABEL_0": 0}, "pad_token_id": 260} | config)
    )
    tensors = load_file(folder / "model.safetensors")
    head = tensors.pop("lm_head.weight", tensors["model.embed_tokens.weight"]).double()
    tensors["score.weight"] = (head[no_yes[1]] - head[no_yes[0]])[None].to(tensors["model.norm.weight"].dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def bert_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """WordPiece over a few words and the letters, with BERT's own pairs."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *WORDS,
        *letters[1:],
        *(f"##{letter}" for letter in letters),
    ]
    pieces += ["[", "]", "<", ">", "/", "|", "_", "(", ")"]
    return transformers.BertTokenizer(vocab={piece: number for number, piece in enumerate(dict.fromkeys(pieces))})


def xlm_roberta_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Unigram over the letters, with XLM-R's own pairs: two </s> between the texts."""
    specials = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    letters = [(chr(code), -4.0) for code in range(ord("!"), ord("~"))]
    words = [(f"▁{word}", -3.0) for word in WORDS if word.isalpha()]
    return transformers.XLMRobertaTokenizer(vocab=[*specials, ("▁", -2.0), *words, *letters, ("<mask>", 0.0)])


def qwen2_tokenizer(folder: Path) -> transformers.PreTrainedTokenizerFast:
    """Bytes, with nothing between the texts of a pair, as causal networks have it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, terminator=False)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token=TERMINATOR, model_max_length=128
    )


def cross_encoder(folder: Path, name: str, **config: Any) -> Path:
    """Write a random classification reranker of this architecture and return its folder."""
    tokenizers = {"XLMRoberta": xlm_roberta_tokenizer, "Qwen2": lambda: qwen2_tokenizer(folder)}
    tokenizer = tokenizers.get(name, bert_tokenizer)()
    sizes = SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 128} | config
    if name == "XLMRoberta":
        sizes |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
        tokenizer.model_max_length = 126  # positions begin behind the padding token's id
    if name == "Qwen2":
        sizes |= {"num_key_value_heads": 2, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    settings = getattr(transformers, f"{name}Config")(**sizes)
    network = transformers.AutoModelForSequenceClassification.from_config(settings)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
