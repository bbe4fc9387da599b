"""Tiny random networks of the library's architectures, saved as checkpoints."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from models import ModelInfo
from models.interface import Ids, Pooling
from tests.support.networks.one_at_a_time import Matrix

SMALL: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ROBERTA = {"pad_token_id": 1, "bos_token_id": 0, "type_vocab_size": 1}
GROUPED = SMALL | {"num_key_value_heads": 2}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
ROUTED = EXPERTS | {"n_routed_experts": 8, "first_k_dense_replace": 1}
# Shorter than some of the texts.
WINDOW = 16
LOCAL = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "n_group": 2,
    "topk_group": 1,
}

CONFIGS: Mapping[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertConfig(**SMALL),
    "nomic_bert": lambda: transformers.NomicBertConfig(**SMALL),
    "roberta": lambda: transformers.RobertaConfig(**SMALL | ROBERTA),
    "xlm-roberta": lambda: transformers.XLMRobertaConfig(**SMALL | ROBERTA),
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=300, dim=32, n_layers=2, n_heads=4, hidden_dim=48, pad_token_id=0
    ),
    "mpnet": lambda: transformers.MPNetConfig(**SMALL),
    "deberta-v2": lambda: transformers.DebertaV2Config(
        **SMALL, relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"]
    ),
    "modernbert": lambda: transformers.ModernBertConfig(**SMALL, local_attention=WINDOW, global_attn_every_n_layers=2),
    "gemma3_text": lambda: transformers.Gemma3TextConfig(**GROUPED, **LOCAL, head_dim=8),
    "embeddinggemma": lambda: transformers.Gemma3TextConfig(
        **GROUPED, **LOCAL, head_dim=8, use_bidirectional_attention=True
    ),
    "qwen2": lambda: transformers.Qwen2Config(**GROUPED),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(**GROUPED, **EXPERTS, head_dim=8, num_experts=4),
    "mistral": lambda: transformers.MistralConfig(**GROUPED, sliding_window=WINDOW),
    "llama": lambda: transformers.LlamaConfig(**GROUPED),
    "gemma": lambda: transformers.GemmaConfig(**GROUPED, head_dim=8),
    "gemma2": lambda: transformers.Gemma2Config(**GROUPED, **LOCAL, head_dim=8),
    "phi3": lambda: transformers.Phi3Config(**GROUPED),
    "glm4_moe": lambda: transformers.Glm4MoeConfig(**GROUPED, **ROUTED, head_dim=8),
    "deepseek_v3": lambda: transformers.DeepseekV3Config(**SMALL | ROUTED | LATENT | {"num_key_value_heads": 4}),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **GROUPED, **LOCAL, head_dim=8, num_local_experts=4, num_experts_per_tok=2
    ),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2
    ),
    "mamba": lambda: transformers.MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2, state_size=8),
    "lfm2": lambda: transformers.Lfm2Config(**GROUPED, layer_types=["conv", "full_attention"]),
}


def save(folder: Path, config: Any, pooling: Pooling = "mean", **more: Any) -> ModelInfo:
    """Save a random network of the library, and return its ModelInfo."""
    torch.manual_seed(0)
    network = transformers.AutoModel.from_config(config)
    enliven(network)
    network.save_pretrained(folder)
    return info_of(folder, config, pooling, **more)


def enliven(network: torch.nn.Module) -> None:
    """Enlarge weights until a wrong mask, position or sink is visible: fresh weights attend to all tokens alike."""
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() > 1:
                weight.mul_(8)
            else:
                weight.add_(torch.randn_like(weight) * 0.3)


def info_of(folder: Path, config: Any, pooling: Pooling, **more: Any) -> ModelInfo:
    """The ModelInfo that load_preprocessor would give."""
    fields: dict[str, Any] = {
        "path": str(folder),
        "kind": "embedder",
        "kind_reason": "test",
        "architecture": type(config).__name__,
        "model_type": config.model_type,
        "width": 32,
        "max_tokens": 500,
        "table_rows": 300,
        "head_rows": 0,
        "pooling": pooling,
        "matryoshka": True,
        "layer_norm_before_dimensions": False,
    }
    return ModelInfo(**fields | more)


def texts() -> list[Ids]:
    """Mixed lengths, some equal, most longer than WINDOW."""
    random = np.random.default_rng(5)
    return [random.integers(3, 286, n, dtype=np.int32) for n in (1, 2, 9, 9, 10, 40, 43, 44, 120)]


def alone(folder: Path, pooling: Pooling = "mean", items: Sequence[Ids] | None = None) -> Matrix:
    """Pooled states of one text at a time by the library's plain attention, in float32."""
    network = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    pool: dict[Pooling, Callable[[torch.Tensor], torch.Tensor]] = {
        "mean": lambda hidden: hidden.mean(0),
        "cls": lambda hidden: hidden[0],
        "lasttoken": lambda hidden: hidden[-1],
        "max": lambda hidden: hidden.amax(0),
    }
    with torch.inference_mode():
        states = [network(torch.from_numpy(ids).long()[None]).last_hidden_state[0] for ids in items or texts()]
    return torch.stack([pool[pooling](hidden) for hidden in states]).numpy()
