"""The pair's shape and its files. First weights and training are elsewhere."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import Qwen3Config, Qwen3Model

HIDDEN = 256
HEAD_DIM = 64
# The embedder marks and sums up; the reranker marks, sums up query and sentences, compares, and reads the best.
EMBEDDER_LAYERS, RERANKER_LAYERS = 2, 4
# Each of a head's 32 pairs turns a quarter as fast as the one before. The third to fifth tell how far apart two tokens
# are; from the seventh on they hardly turn within a thousand positions, as the comparison of sums far apart needs it.
TURNS = 3.9
ROPE_THETA = TURNS ** (HEAD_DIM // 2)
SHAPE = {
    "hidden_size": HIDDEN,
    "intermediate_size": 32,
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


def save(network: Qwen3Model, folder: Path, *, name: str) -> None:
    """Write config.json and model.safetensors in bfloat16, with `model.` before the keys, as a causal LM."""
    settings = json.loads(network.config.to_json_string(use_diff=False))
    copied = (*SHAPE, "num_hidden_layers", "vocab_size", "bos_token_id", "eos_token_id")
    kept = {key: settings[key] for key in copied}
    kept |= {"rope_theta": ROPE_THETA, "rope_parameters": {"rope_theta": ROPE_THETA, "rope_type": "default"}}
    kept |= {"_name_or_path": name, "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "dtype": "bfloat16"}
    kept |= {"sliding_window": None, "max_window_layers": kept["num_hidden_layers"], "attention_dropout": 0.0}
    kept |= {"torch_dtype": "bfloat16", "use_cache": True, "rope_scaling": None, "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(dict(sorted(kept.items())), indent=2) + "\n", encoding="utf-8")
    tensors = {f"model.{key}": value for key, value in network.state_dict().items()}
    rounded = {key: value.detach().to(torch.bfloat16).contiguous() for key, value in sorted(tensors.items())}
    save_file(rounded, str(folder / "model.safetensors"), metadata={"format": "pt"})
    # safetensors lets nobody else read it.
    (folder / "model.safetensors").chmod(0o644)
