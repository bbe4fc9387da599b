"""What a GGUF file means as a checkpoint: config.json from its metadata, and the names of its tensors."""

import re
from typing import Any

from models.checkpoint.files import JsonObject
from models.checkpoint.formats.gguf import GgufFile, GgufTensor
from models.checkpoint.formats.plan import GgmlBlocks, Plan
from models.interface import ModelError

# llama.cpp's architectures whose names and layouts are known; `llama` is also SmolLM2 and others.
GGUF_ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
# llama.cpp, convert_hf_to_gguf.py, LlamaModel.permute(): it interleaves the halves of each head for rotary positions.
_INTERLEAVED = {"llama": {"attn_q": "attention.head_count", "attn_k": "attention.head_count_kv"}}
_TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_HEAD = "output.weight"
_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    **{f"attn_{name}": f"self_attn.{name}_proj" for name in "qkv"},
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    **{f"ffn_{name}": f"mlp.{name}_proj" for name in ("gate", "up", "down")},
}
_LAYER_NAME = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")
# Frequencies of Llama 3's rotary positions, which config.json gives as rope_scaling.
_ROPE = "rope_freqs.weight"
# Metadata below the architecture's name that is read here, or says what llama.cpp does anyway.
_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length",
}
_OTHERS = (
    *("attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count"),
    *("attention.layer_norm_rms_epsilon", "rope.freq_base", "vocab_size"),
)
_LAST_TOKEN = (0, 3)  # llama.cpp, LLAMA_POOLING_TYPE: none and last
BESIDE = "put the model's own config.json beside the file"


def gguf_config(file: GgufFile) -> JsonObject:
    """config.json from the metadata of a file that has none beside it.

    Raises: ModelError: the metadata lacks a size, or says something that would change numbers and is not known.
    """
    name = _architecture(file)
    own = {key.removeprefix(f"{name}."): value for key, value in file.metadata.items() if key.startswith(f"{name}.")}
    _check_known(file, own)
    config: JsonObject = {"architectures": [GGUF_ARCHITECTURES[name]], "model_type": name, "hidden_act": "silu"}
    config |= {key: _whole(file, own, entry) for key, entry in _SIZES.items()}
    heads = config["num_attention_heads"]
    config["num_key_value_heads"] = _whole(file, own, "attention.head_count_kv", heads)
    config["head_dim"] = _whole(
        file, own, "attention.key_length", own.get("rope.dimension_count", config["hidden_size"] // heads)
    )
    config["rms_norm_eps"] = float(own.get("attention.layer_norm_rms_epsilon", 1e-6))
    config["rope_theta"] = float(own.get("rope.freq_base", 10000.0))
    config["tie_word_embeddings"] = _HEAD not in file.tensors
    config["vocab_size"] = file.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in file.tensors else 0
    if name != "qwen2":
        config["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
    if name == "qwen2":
        del config["head_dim"]
    return config


def gguf_tokenizer_config(file: GgufFile) -> JsonObject:
    """tokenizer_config.json from the metadata: the chat template, and the tokens that it may name."""
    metadata = file.metadata
    tokens = metadata.get("tokenizer.ggml.tokens") or []
    config: JsonObject = {}
    for role, key in (("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding")):
        number = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if isinstance(number, int) and number < len(tokens):
            config[role] = tokens[number]
    if template := metadata.get("tokenizer.chat_template"):
        config["chat_template"] = template
    return config


def plan_gguf(file: GgufFile, *, has_config: bool) -> Plan:
    """Plan every tensor under the name that the network has for it.

    Args:
        file: the header.
        has_config: whether a config.json lies beside the file.
    Raises: ModelError: the architecture or a tensor is not known.
    """
    name = _architecture(file)
    plan = Plan("")
    for stored, tensor in file.tensors.items():
        if stored == _ROPE and has_config:
            plan.unread.add(stored)
            continue
        plain = _plain_name(file, stored)
        plan.add(plain, tensor.shape, _scheme(file, name, stored, tensor), {"weight": stored})
    types = sorted({tensor.ggml_type for tensor in file.tensors.values()} - {"F32"})
    plan.method = ", ".join(["gguf", *types])
    return plan


def _architecture(file: GgufFile) -> str:
    name = str(file.metadata.get("general.architecture", "unknown"))
    if name not in GGUF_ARCHITECTURES:
        raise ModelError(
            f"{file.path} has the architecture {name}, which is not supported in GGUF (supported: "
            f"{', '.join(GGUF_ARCHITECTURES)}); use the model's safetensors version"
        )
    return name


def _check_known(file: GgufFile, own: dict[str, Any]) -> None:
    known = {*_SIZES.values(), *_OTHERS}
    pooling, scaling = own.get("pooling_type", 0), own.get("rope.scaling.type", "none")
    if pooling not in _LAST_TOKEN:
        raise ModelError(
            f"{file.path} asks for another pooling than the last token (pooling_type {pooling}); put config.json and "
            "modules.json of the model beside the file"
        )
    harmless = {"pooling_type", "rope.scaling.type"} if scaling == "none" else {"pooling_type"}
    unknown = sorted(key for key in own if key not in known | harmless)
    if unknown or _ROPE in file.tensors:
        raise ModelError(
            f"{file.path} has no config.json beside it, and its metadata is not enough; {BESIDE} "
            f"(not known: {', '.join(unknown[:3]) or _ROPE})"
        )


def _whole(file: GgufFile, own: dict[str, Any], key: str, default: object = None) -> int:
    value = own.get(key, default)
    if type(value) is not int or value < 1:
        raise ModelError(
            f"{file.path} needs a positive whole number for {key} in its metadata; got {value!r}; {BESIDE}"
        )
    return value


def _plain_name(file: GgufFile, stored: str) -> str:
    if stored == _HEAD:
        return "lm_head.weight"
    if stored in _TOP:
        return _TOP[stored]
    layer = _LAYER_NAME.fullmatch(stored)
    if layer is None or layer[2] not in _LAYER:
        raise ModelError(
            f"{file.path} holds a tensor that its architecture is not known to have: {stored}; use the model's "
            "safetensors version"
        )
    return f"model.layers.{layer[1]}.{_LAYER[layer[2]]}.{layer[3]}"


def _scheme(file: GgufFile, architecture: str, stored: str, tensor: GgufTensor) -> GgmlBlocks:
    part = stored.split(".")[2] if stored.startswith("blk.") else ""
    key = _INTERLEAVED.get(architecture, {}).get(part)
    heads = file.metadata.get(f"{architecture}.{key}") if key else 0
    if not isinstance(heads, int) or (heads and tensor.shape[0] % (2 * heads)):
        raise ModelError(f"{file.path} holds {stored} of {tensor.shape[0]} rows, which are not of {heads} heads")
    return GgmlBlocks(tensor.ggml_type, heads)
