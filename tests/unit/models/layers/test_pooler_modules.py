"""Post-pooling modules give the vectors that sentence-transformers gives, for every kind of network."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library

from models import ModelError
from tests.support.checkpoints.encoders import WIDTH, random_norm, save_encoder
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.embeddings import ours, reference, run, worst_cosine

# Modules after a random BERT, by name.
MODULES: dict[str, Any] = {
    "dense": lambda: [library.Pooling(WIDTH, "mean"), library.Dense(WIDTH, 20)],
    "gemma": lambda: [
        library.Pooling(WIDTH, "mean"),
        library.Dense(WIDTH, 64, bias=False, activation_function=torch.nn.Identity()),
        library.Dense(64, WIDTH, bias=False, activation_function=torch.nn.Identity()),
        library.Normalize(),
    ],
    "labse": lambda: [library.Pooling(WIDTH, "cls"), library.Dense(WIDTH, WIDTH), library.Normalize()],
    "norms": lambda: [
        library.Pooling(WIDTH, "max"),
        library.Normalize(),
        random_norm(),
        library.Dense(WIDTH, 8, activation_function=torch.nn.GELU()),
    ],
}


@pytest.mark.parametrize("backend", ["auto", "sentence_transformers"])
@pytest.mark.parametrize("modules", MODULES)
def test_post_pooling_modules_equal_those_of_the_library(tmp_path: Path, modules: str, backend: str) -> None:
    folder = save_encoder(tmp_path / "model", MODULES[modules]())

    text, loaded = run(folder, backend)

    assert loaded.info.backend == ("encoder" if backend == "auto" else backend)
    assert worst_cosine(ours(text, loaded), reference(folder)) >= 0.999999
    assert text.info.width == reference(folder).shape[1]


def test_a_projection_behind_our_own_network(tmp_path: Path) -> None:
    folder = build(tmp_path / "m")
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    SentenceTransformer(modules=[*list(model)[:2], library.Dense(96, 24)], device="cpu").save(str(tmp_path / "dense"))

    text, loaded = run(tmp_path / "dense")

    assert loaded.info.backend == "packed"
    assert worst_cosine(ours(text, loaded), reference(tmp_path / "dense")) >= 0.999999


def test_a_projection_that_is_left_out_would_be_noticed(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", MODULES["labse"]())
    (folder / "modules.json").write_text(json.dumps(json.loads((folder / "modules.json").read_text())[:2]))
    without = ours(*run(folder))

    assert worst_cosine(without, reference(save_encoder(tmp_path / "again", MODULES["labse"]()))) < 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [(None, r"has no model\.safetensors"), ({"linear.weight": torch.zeros(3, 3)}, "does not match its config.json")],
)
def test_damaged_weights_of_a_projection_are_one_sentence(tmp_path: Path, change: Any, message: str) -> None:
    folder = save_encoder(tmp_path / "model", MODULES["dense"]())
    file = folder / "2_Dense" / "model.safetensors"
    tensors = load_file(file)
    file.unlink()
    save_file(tensors | change, file) if change else None

    with pytest.raises(ModelError, match=message):
        run(folder)
