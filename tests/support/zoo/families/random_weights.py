"""Random weights of one of the library's networks, drawn so that its answers differ: a tolerance needs that."""

import re
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

# Queries and keys of every architecture here: flat attention would hide a wrong mask or a wrong position.
DECIDES_WHERE_TO_LOOK = re.compile(r"query|key|Wqkv|qkv|attn\.(q|k|q_a|q_b|kv_a|kv_b)_|attn\.[qk]\.|relative_attention")


# Entries that are no arguments of a configuration's class. The dtype is float32 here, whatever is published.
UNREAD = ("model_type", "auto_map", "quantization_config", "torch_dtype", "dtype")


def library_config(entries: Mapping[str, Any]) -> Any:
    """A configuration object of the class that `model_type` names."""
    known = {key: value for key, value in entries.items() if key not in UNREAD}
    return transformers.AutoConfig.for_model(str(entries["model_type"]), **known)


def random_weights(saved_as: str, entries: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """Tensors by their published names: the library writes each architecture's own layout."""
    transformers.utils.logging.disable_progress_bar()
    generator = torch.Generator().manual_seed(seed)
    network = _network(saved_as, entries).float()
    with torch.no_grad():
        for name, weight in _drawn(network):
            _draw(name, weight, generator)
    return _published(network)


def parameters(saved_as: str, entries: Mapping[str, Any]) -> int:
    """Count the parameters of a network of the published size, without allocating memory."""
    with torch.device("meta"):
        network = _network(saved_as, entries)
    return sum(weight.numel() for weight in network.parameters())


def _network(saved_as: str, entries: Mapping[str, Any]) -> nn.Module:
    chosen = getattr(transformers, saved_as)
    network: nn.Module = getattr(chosen, "from_config", chosen)(library_config(entries))
    return network


def _drawn(network: nn.Module) -> list[tuple[str, Tensor]]:
    drawn: list[tuple[str, Tensor]] = list(network.named_parameters())
    return [*drawn, *((name, buffer) for name, buffer in network.named_buffers() if name.endswith("correction_bias"))]


def _draw(name: str, weight: Tensor, generator: torch.Generator) -> None:
    noise = torch.randn(weight.shape, generator=generator)
    if weight.dim() == 1:
        # Norms stay near what they were.
        weight += 0.2 * noise + (0.5 if name.endswith(("q_norm.weight", "k_norm.weight")) else 0)
    elif "embed" in name or "lm_head" in name or name.endswith("_bias"):
        # With this scale a difference of two logits has a standard deviation of about 5.
        weight.copy_(noise * 5 / (2 * weight.shape[-1]) ** 0.5)
    else:
        weight.copy_(noise * (2.0 if DECIDES_WHERE_TO_LOOK.search(name) else 1.1) / weight.shape[-1] ** 0.5)


def unread_beside(tensors: dict[str, Tensor], entries: Mapping[str, Any]) -> dict[str, Tensor]:
    """Add what published files hold beyond the network: BERT's positions, a layer that predicts ahead."""
    if entries["model_type"] == "bert":
        positions = torch.arange(entries["max_position_embeddings"])[None]
        return {"embeddings.position_ids": positions} | tensors
    if not entries.get("num_nextn_predict_layers"):
        return tensors
    layers, width = entries["num_hidden_layers"], entries["hidden_size"]
    last, ahead = f"model.layers.{layers - 1}.", f"model.layers.{layers}."
    copied = {name.replace(last, ahead): tensor.clone() for name, tensor in tensors.items() if name.startswith(last)}
    # DeepSeek-V3 repository, README_WEIGHTS.md: the parts of a multi-token prediction layer.
    return (
        tensors
        | copied
        | {
            f"{ahead}embed_tokens.weight": tensors["model.embed_tokens.weight"].clone(),
            f"{ahead}enorm.weight": torch.ones(width),
            f"{ahead}hnorm.weight": torch.ones(width),
            f"{ahead}eh_proj.weight": torch.zeros(width, 2 * width),
            f"{ahead}shared_head.norm.weight": torch.ones(width),
            f"{ahead}shared_head.head.weight": tensors["lm_head.weight"].clone(),
        }
    )


def _published(network: nn.Module) -> dict[str, Tensor]:
    with TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        return load_file(f"{folder}/model.safetensors")
