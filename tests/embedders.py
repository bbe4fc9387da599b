"""Random encoders with what stands behind them, as sentence-transformers saves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library

from tests.classifiers import SIZES, bert_tokenizer

WIDTH = SIZES["hidden_size"]


def save_encoder(
    folder: Path,
    behind: Sequence[torch.nn.Module],
    *,
    name: str = "Bert",
    max_seq_length: int | None = None,
    **config: Any,
) -> Path:
    """Write a random encoder of one architecture with these modules behind it, and return `folder`."""
    torch.manual_seed(0)
    tokenizer = bert_tokenizer()
    sizes = SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 128} | config
    bare = folder.with_name(f"{folder.name}-bare")
    network = transformers.AutoModel.from_config(getattr(transformers, f"{name}Config")(**sizes))
    with torch.no_grad():
        for weight in network.parameters():
            # Norms and biases as of a trained network: with fresh ones many mistakes change nothing.
            weight.add_(torch.randn_like(weight) * 0.3 if weight.dim() == 1 else 0)
    network.save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    first = library.Transformer(str(bare), max_seq_length=max_seq_length)
    SentenceTransformer(modules=[first, *behind], device="cpu").save(str(folder))
    return folder


def random_norm(width: int = WIDTH) -> torch.nn.Module:
    """A LayerNorm that changes what it is given."""
    norm = library.LayerNorm(width)
    torch.nn.init.normal_(norm.norm.weight)
    torch.nn.init.normal_(norm.norm.bias)
    return norm
