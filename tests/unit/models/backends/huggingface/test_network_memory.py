"""The memory of loading a network, in its own process, because memory freed before would hide it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

MEASURE = """
import json, sys, threading, time
import torch
import models.backends.huggingface.transformers_backend, transformers
from pathlib import Path
from models import LoadOptions, load_backend
from models.interface import ModelInfo
def anonymous():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))
folder = Path(sys.argv[1])
config = json.loads((folder / "config.json").read_text())
info = ModelInfo(
    path=str(folder), kind="embedder", kind_reason="test", architecture="test", model_type=config["model_type"],
    width=config["hidden_size"], max_tokens=512, table_rows=config["vocab_size"], head_rows=0, pooling="mean",
    matryoshka=True, layer_norm_before_dimensions=False,
)
getattr(transformers, sys.argv[3])  # its imports do not count as memory of a load
torch.nn.functional.linear(torch.ones(64, 64), torch.ones(64, 64))
before, peak, done = anonymous(), [0], threading.Event()
def watch():
    while not done.is_set():
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.002)
thread = threading.Thread(target=watch)
thread.start()
backend = load_backend(folder, info, LoadOptions(dtype=sys.argv[2], backend=sys.argv[4]))
done.set()
thread.join()
width = 2 if sys.argv[2] == "bfloat16" else 4
print((peak[0] - before) / (backend.info.parameters * width))
"""

BERT: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
}
# Many small layers, because a layer is also held in float32 while it is checked.
EXPERTS: dict[str, Any] = {
    "hidden_size": 512,
    "num_hidden_layers": 24,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 1024,
    "vocab_size": 20000,
    "num_experts": 32,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 512,
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is told by Linux")
@pytest.mark.parametrize(
    ("backend", "name", "sizes", "stored", "dtype"),
    [
        ("transformers", "Bert", BERT, torch.float32, "float32"),
        ("transformers", "Bert", BERT, torch.float32, "bfloat16"),
        ("transformers", "Bert", BERT, torch.bfloat16, "float32"),
        ("transformers", "Qwen3Moe", EXPERTS, torch.bfloat16, "bfloat16"),
        ("encoder", "Bert", BERT, torch.float32, "float32"),
        ("encoder", "Bert", BERT, torch.float32, "bfloat16"),
    ],
)
def test_loading_takes_little_more_memory_than_the_weights(
    tmp_path: Path, backend: str, name: str, sizes: dict[str, Any], stored: torch.dtype, dtype: str
) -> None:
    config = getattr(transformers, f"{name}Config")(**sizes)
    network = getattr(transformers, f"{name}Model")(config).to(stored)
    network.save_pretrained(tmp_path)
    del network

    told = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), dtype, f"{name}Model", backend],
        capture_output=True,
        text=True,
        check=True,
    )

    assert float(told.stdout) <= 1.2
