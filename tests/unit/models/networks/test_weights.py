"""Every storage layout of a checkpoint gives the same network, and a wrong checkpoint is refused by name."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models import Item, LoadOptions, ModelError, Readout, load_backend, load_preprocessor
from models.interface import Row
from models.networks.weights import Weights
from tests.support.checkpoints.qwen3 import build

IDS = np.array([5, 6, 7, 260], dtype=np.int32)
FLOAT32 = LoadOptions(dtype="float32")


def vector(folder: Path) -> Row:
    return (
        load_backend(folder, load_preprocessor(folder).info, FLOAT32).launch([Item(IDS, Readout("vector"))]).rows()[0]
    )


def rewrite(folder: Path, **changes: torch.Tensor | None) -> None:
    """Replace, add or (None) drop tensors of a one-file checkpoint; `__` in a name stands for a dot."""
    file = folder / "model.safetensors"
    tensors = load_file(file) | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file)


def set_config(folder: Path, **entries: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


@pytest.mark.parametrize("layout", [{"prefix": True}, {"prefix": False}, {"shards": 3}, {"shards": 2, "prefix": True}])
def test_names_and_files_do_not_change_the_network(tmp_path: Path, layout: dict[str, Any]) -> None:
    plain = vector(build(tmp_path / "plain"))

    assert (vector(build(tmp_path / "stored", **layout)) == plain).all()


def test_bfloat16_files_are_widened_exactly(tmp_path: Path) -> None:
    half = build(tmp_path / "half", dtype=torch.bfloat16)
    widened = {name: tensor.float() for name, tensor in load_file(half / "model.safetensors").items()}
    wide = build(tmp_path / "wide")
    save_file(widened, wide / "model.safetensors")

    assert (vector(half) == vector(wide)).all()


def test_an_untied_head_is_read_from_its_own_tensor(tmp_path: Path) -> None:
    folder = build(tmp_path, "llm", tie_word_embeddings=False)
    head = load_file(folder / "model.safetensors")["lm_head.weight"]
    backend = load_backend(folder, load_preprocessor(folder).info, FLOAT32)

    state, logits = backend.launch([Item(IDS, Readout("vector")), Item(IDS, Readout("logits", (9, 4)))]).rows()

    np.testing.assert_allclose(logits, head[[9, 4]].numpy() @ state, rtol=1e-5)


def test_an_untied_embedder_needs_no_head(tmp_path: Path) -> None:
    folder = build(tmp_path, tie_word_embeddings=False)
    rewrite(folder, lm_head__weight=None)

    assert np.isfinite(vector(folder)).all()


def test_a_tied_checkpoint_may_store_its_table_twice(tmp_path: Path) -> None:
    folder = build(tmp_path, "llm")
    table = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    rewrite(folder, lm_head__weight=table.clone())

    assert np.isfinite(vector(folder)).all()


def test_a_tied_checkpoint_with_another_head_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path, "llm")
    rewrite(folder, lm_head__weight=torch.zeros(320, 96))

    with pytest.raises(ModelError, match=r"stored lm_head\.weight differs"):
        vector(folder)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    folder = build(tmp_path)
    rewrite(folder, layers__1__mlp__up_proj__weight=None)

    with pytest.raises(ModelError, match=r"lacks the tensor layers\.1\.mlp\.up_proj\.weight"):
        vector(folder)


def test_a_tensor_that_the_network_does_not_have_is_named(tmp_path: Path) -> None:
    folder = build(tmp_path)
    rewrite(folder, layers__0__self_attn__q_proj__bias=torch.zeros(128))

    with pytest.raises(ModelError, match=r"does not have by config\.json: layers\.0\.self_attn\.q_proj\.bias"):
        vector(folder)


def test_a_tensor_of_another_shape_is_named_with_both(tmp_path: Path) -> None:
    folder = build(tmp_path)
    set_config(folder, intermediate_size=161)

    with pytest.raises(
        ModelError, match=r"layers\.0\.mlp\.gate_proj\.weight has the shape \(161, 96\); it has \(160, 96\)"
    ):
        vector(folder)


def test_weights_that_do_not_fit_are_told_as_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path)

    def full(*_args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    monkeypatch.setattr(Weights, "take", full)

    with pytest.raises(ModelError, match=r"does not fit into the device's memory: CUDA .* 2\.00 GiB\.$"):
        vector(folder)


# Runs in its own process, because memory that this one freed before would hide the memory of a load.
MEASURE = """
import sys, threading, time
import torch
from pathlib import Path
from models import Item, LoadOptions, Readout, load_backend, load_preprocessor
import models.backends.packed
def anonymous():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))
torch.nn.functional.linear(torch.ones(64, 64), torch.ones(64, 64))
before, peak, done = anonymous(), [0], threading.Event()
def watch():
    while not done.is_set():
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.002)
thread = threading.Thread(target=watch)
thread.start()
folder = Path(sys.argv[1])
backend = load_backend(folder, load_preprocessor(folder).info, LoadOptions(dtype=sys.argv[2]))
done.set()
thread.join()
width = 2 if sys.argv[2] == "bfloat16" else 4
print((peak[0] - before) / (backend.info.parameters * width))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is told by Linux")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_loading_takes_little_more_memory_than_the_weights(tmp_path: Path, dtype: str) -> None:
    # Qwen3 0.6B's table and 25 of its layers: 1.1 GB in bfloat16.
    sizes: dict[str, Any] = {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
    }
    folder = build(tmp_path, dtype=torch.bfloat16, head_dim=128, num_hidden_layers=25, vocab_size=151669, **sizes)

    told = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder), dtype], capture_output=True, text=True, check=True
    )

    assert float(told.stdout) <= 1.2
