"""Random encoders with pooling and further modules, as sentence-transformers saves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library

from tests.support.checkpoints.classifiers import SIZES, bert_tokenizer, xlm_roberta_tokenizer

WIDTH = SIZES["hidden_size"]
# As in sentence-t5-base, smaller.
T5_SIZES = {
    "d_model": WIDTH,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "feed_forward_proj": "relu",
    "n_positions": 512,
    "output_past": True,
}


def save_encoder(
    folder: Path,
    post_modules: Sequence[torch.nn.Module],
    *,
    name: str = "Bert",
    max_seq_length: int | None = None,
    **config: Any,
) -> Path:
    """Write a random encoder of this architecture, followed by `post_modules`, and return `folder`."""
    torch.manual_seed(0)
    tokenizer = xlm_roberta_tokenizer() if name == "T5" else bert_tokenizer()
    sizes = (T5_SIZES if name == "T5" else SIZES | {"max_position_embeddings": 128}) | config
    bare = folder.with_name(f"{folder.name}-bare")
    network = transformers.AutoModel.from_config(
        getattr(transformers, f"{name}Config")(vocab_size=len(tokenizer), **sizes)
    )
    with torch.no_grad():
        for weight in network.parameters():
            # Norms and biases as of a trained network: with fresh ones many mistakes change nothing.
            weight.add_(torch.randn_like(weight) * 0.3 if weight.dim() == 1 else 0)
    network.save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    first = library.Transformer(str(bare), max_seq_length=max_seq_length)
    SentenceTransformer(modules=[first, *post_modules], device="cpu").save(str(folder))
    return folder


def random_norm(width: int = WIDTH) -> torch.nn.Module:
    """Return a LayerNorm that changes its input."""
    norm = library.LayerNorm(width)
    torch.nn.init.normal_(norm.norm.weight)
    torch.nn.init.normal_(norm.norm.bias)
    return norm
