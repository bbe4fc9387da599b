"""Random Qwen3 checkpoints in Hugging Face layout, written for one test: config, weights, tokenizer, modules."""

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from tests.support.checkpoints.calibration import INSTRUCTION, calibrate
from tests.support.checkpoints.vocabulary import write_tokenizer

# As in the published Qwen3-Embedding-0.6B config.json, with sizes for tests.
CONFIG: dict[str, object] = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 260,
    "eos_token_id": 260,
    "head_dim": 32,
    "hidden_act": "silu",
    "hidden_size": 96,
    "initializer_range": 0.02,
    "intermediate_size": 160,
    "max_position_embeddings": 4096,
    "max_window_layers": 2,
    "model_type": "qwen3",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "transformers_version": "4.51.2",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 320,
}
MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))

Tensors = dict[str, torch.Tensor]


def build(
    folder: Path,
    kind: Literal["embedder", "reranker", "llm"] = "embedder",
    *,
    seed: int = 0,
    prefix: bool | None = None,
    shards: int = 1,
    dtype: torch.dtype = torch.float32,
    log_odds_std: float = 2.0,
    **config: object,
) -> Path:
    """Write a random Qwen3 checkpoint to `folder` and return it; load_preprocessor and load_backend take it as it is.

    Args:
        folder: made if missing; not emptied.
        kind: an embedder has modules.json, pooling and a tokenizer that ends each text with <|endoftext|>; a
            reranker has the frame's tokens, single "yes" and "no", and a name that says so; an llm has neither.
        seed: the same seed and shape give the same weights.
        prefix: whether tensor names begin with "model."; None is as published: embedders without it, the rest with it.
        shards: how many safetensors files; more than one adds model.safetensors.index.json.
        dtype: of the stored weights.
        log_odds_std: of a reranker, over the pairs of tests.support.checkpoints.calibration; their mean is near 0.
        config: entries of config.json by name, over CONFIG: hidden_size=64, tie_word_embeddings=False, ...
            None values stay as null. `vocab_size` must be 286 or more for texts to fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = CONFIG | {"max_window_layers": config.get("num_hidden_layers", 2)} | config
    if kind == "reranker":
        entries = {"_name_or_path": "random/qwen3-reranker"} | entries
    (folder / "config.json").write_text(json.dumps(entries, indent=2), "utf-8")
    write_tokenizer(folder, terminator=kind == "embedder")
    start = "model." if (kind != "embedder" if prefix is None else prefix) else ""
    tensors = {
        name if name == "lm_head.weight" else start + name: tensor.to(dtype).contiguous()
        for name, tensor in _tensors(entries, torch.Generator().manual_seed(seed)).items()
    }
    _write_weights(folder, tensors, shards)
    if kind == "embedder":
        _write_modules(folder)
    if kind == "reranker":
        calibrate(folder, log_odds_std)
    return folder


def _tensors(config: dict[str, object], generator: torch.Generator) -> Tensors:
    sizes = {key: value for key, value in config.items() if isinstance(value, int)}
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    queries = sizes["num_attention_heads"] * sizes["head_dim"]
    keys = sizes["num_key_value_heads"] * sizes["head_dim"]

    def linear(rows: int, columns: int, gain: float = 0.8) -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator).mul_(gain / columns**0.5)

    def norm(width: int, mean: float = 1.0) -> torch.Tensor:
        return torch.randn(width, generator=generator).mul_(0.2).add_(mean)

    # With this scale a difference of two logits has a standard deviation of about 5.
    table_scale = 5 / (2 * hidden) ** 0.5
    # Many layers of full strength are chaotic: bfloat16 against float32 gave cosine 0.9977 with 28.
    damping = min(1.0, (2 / sizes["num_hidden_layers"]) ** 0.5)
    tensors = {"embed_tokens.weight": torch.randn(sizes["vocab_size"], hidden, generator=generator) * table_scale}
    for number in range(sizes["num_hidden_layers"]):
        at = f"layers.{number}."
        tensors |= {
            f"{at}self_attn.q_proj.weight": linear(queries, hidden),
            f"{at}self_attn.k_proj.weight": linear(keys, hidden),
            f"{at}self_attn.v_proj.weight": linear(keys, hidden),
            f"{at}self_attn.o_proj.weight": linear(hidden, queries, 1.2 * damping),
            # Above 1: flat attention would hide a wrong mask or a wrong position.
            f"{at}self_attn.q_norm.weight": norm(sizes["head_dim"], 1.5),
            f"{at}self_attn.k_norm.weight": norm(sizes["head_dim"], 1.5),
            f"{at}mlp.gate_proj.weight": linear(inner, hidden),
            f"{at}mlp.up_proj.weight": linear(inner, hidden),
            f"{at}mlp.down_proj.weight": linear(hidden, inner, 0.8 * damping),
            f"{at}input_layernorm.weight": norm(hidden),
            f"{at}post_attention_layernorm.weight": norm(hidden),
        }
    tensors["norm.weight"] = norm(hidden)
    if not config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = torch.randn(sizes["vocab_size"], hidden, generator=generator) * table_scale
    return tensors


def _write_weights(folder: Path, tensors: Tensors, shards: int) -> None:
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        chosen = names[number::shards]
        save_file({name: tensors[name] for name in chosen}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(chosen, file)
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def _write_modules(folder: Path) -> None:
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{name}"}
        for number, (path, name) in enumerate(MODULES)
    ]
    width = json.loads((folder / "config.json").read_text("utf-8"))["hidden_size"]
    pooling = {"word_embedding_dimension": width, "pooling_mode_lasttoken": True, "include_prompt": True}
    prompts = {"query": f"Instruct: {INSTRUCTION}\nQuery:", "document": ""}
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "2_Normalize").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), "utf-8")
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    document = {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(document), "utf-8")
