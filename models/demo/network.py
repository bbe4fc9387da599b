"""The pair's shape and its files. First weights and training are elsewhere."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

HIDDEN = 256
HEAD_DIM = 64
# The embedder marks and sums up; the reranker marks, sums up the query, matches the document's words with it, sums up
# the document, and compares.
EMBEDDER_LAYERS, RERANKER_LAYERS = 2, 5
# Of a head's 32 pairs all but the first two hardly turn within a few hundred positions: the comparison of two sums far
# apart needs numbers that stay as they are, and neither sums nor marks ask for a position.
ROPE_THETA = 1e38
SHAPE = {
    "hidden_size": HIDDEN,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": HEAD_DIM,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "attention_bias": False,
    "use_sliding_window": False,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
}


def config(tokenizer: Tokenizer, layers: int) -> Qwen3Config:
    """A Qwen3 of the demo pair's size."""
    end, turn = tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|im_end|>")
    return Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        num_hidden_layers=layers,
        rope_parameters={"rope_theta": ROPE_THETA, "rope_type": "default"},
        bos_token_id=end,
        eos_token_id=turn,
        **SHAPE,
    )


def save(network: Qwen3Model, folder: Path, *, name: str, head: Tensor | None = None) -> None:
    """Write config.json and model.safetensors in bfloat16, with `model.` before the keys, as a causal LM."""
    settings = json.loads(network.config.to_json_string(use_diff=False))
    copied = (*SHAPE, "num_hidden_layers", "vocab_size", "bos_token_id", "eos_token_id")
    kept = {key: settings[key] for key in copied}
    kept |= {"rope_theta": ROPE_THETA, "rope_parameters": {"rope_theta": ROPE_THETA, "rope_type": "default"}}
    kept |= {"_name_or_path": name, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "dtype": "bfloat16"}
    kept |= {"sliding_window": None, "max_window_layers": kept["num_hidden_layers"], "attention_dropout": 0.0}
    kept |= {"torch_dtype": "bfloat16", "use_cache": True, "rope_scaling": None, "tie_word_embeddings": head is None}
    (folder / "config.json").write_text(json.dumps(dict(sorted(kept.items())), indent=2) + "\n", encoding="utf-8")
    tensors = {f"model.{key}": value for key, value in network.state_dict().items()}
    if head is not None:
        tensors["lm_head.weight"] = head
    rounded = {key: value.detach().to(torch.bfloat16).contiguous() for key, value in sorted(tensors.items())}
    save_file(rounded, str(folder / "model.safetensors"), metadata={"format": "pt"})
