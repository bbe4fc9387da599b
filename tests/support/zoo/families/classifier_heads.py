"""A classification head whose scores differ: a tolerance proves nothing on equal scores."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from models.text.qwen3_prompt import FRAME_PREFIX, FRAME_SUFFIX
from tests.support.checkpoints.calibration import DOCUMENTS, INSTRUCTION, QUERIES, direction


def calibrate_classifier(folder: Path, std: float) -> None:
    """Point the last layer to where its inputs differ most over some pairs, with this spread and mean 0."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    name, last = next((name, part) for name, part in network.named_modules() if _is_last(part))
    states: list[torch.Tensor] = []
    last.register_forward_pre_hook(lambda _part, inputs: states.append(inputs[0][0]))
    with torch.inference_mode():
        for text in _texts(framed=network.config.model_type == "qwen3"):
            encoded = tokenizer(*text, return_tensors="pt", add_special_tokens=len(text) == 2)
            network(**encoded)
    # A causal model's last layer sees every token; a pooled one sees one row.
    rows = np.stack([state.reshape(-1, state.shape[-1])[-1].numpy() for state in states]).astype(np.float64)
    tensors = load_file(folder / "model.safetensors")
    tensors[f"{name}.weight"] = torch.from_numpy(direction(rows, std))[None].float()
    if f"{name}.bias" in tensors:
        tensors[f"{name}.bias"] = torch.zeros(1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _is_last(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) and part.out_features == 1


def _texts(*, framed: bool) -> Iterator[tuple[str, ...]]:
    for query in QUERIES:
        for document in DOCUMENTS:
            body = f"<Instruct>: {INSTRUCTION}\n<Query>: {query}\n<Document>: {document}"
            yield (f"{FRAME_PREFIX}{body}{FRAME_SUFFIX}",) if framed else (query, document)
