"""What stands behind a pooling equals sentence-transformers', behind every network."""

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
from tests.support.networks.embeddings import ours, run, theirs, worst_cosine

# What stands behind a random BERT, by name.
TAILS: dict[str, Any] = {
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
@pytest.mark.parametrize("behind", TAILS)
def test_what_stands_behind_a_pooling_is_computed_as_the_library_does(
    tmp_path: Path, behind: str, backend: str
) -> None:
    folder = save_encoder(tmp_path / "model", TAILS[behind]())

    text, loaded = run(folder, backend)

    assert loaded.info.backend == ("encoder" if backend == "auto" else backend)
    assert worst_cosine(ours(text, loaded), theirs(folder)) >= 0.999999
    assert text.info.width == theirs(folder).shape[1]


def test_a_projection_behind_our_own_network(tmp_path: Path) -> None:
    folder = build(tmp_path / "m")
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    SentenceTransformer(modules=[*list(model)[:2], library.Dense(96, 24)], device="cpu").save(str(tmp_path / "dense"))

    text, loaded = run(tmp_path / "dense")

    assert loaded.info.backend == "packed"
    assert worst_cosine(ours(text, loaded), theirs(tmp_path / "dense")) >= 0.999999


def test_a_projection_that_is_left_out_would_be_noticed(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", TAILS["labse"]())
    (folder / "modules.json").write_text(json.dumps(json.loads((folder / "modules.json").read_text())[:2]))
    without = ours(*run(folder))

    assert worst_cosine(without, theirs(save_encoder(tmp_path / "again", TAILS["labse"]()))) < 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [(None, r"missing: model\.safetensors"), ({"linear.weight": torch.zeros(3, 3)}, "does not fit its config.json")],
)
def test_damaged_weights_of_a_projection_are_one_sentence(tmp_path: Path, change: Any, message: str) -> None:
    folder = save_encoder(tmp_path / "model", TAILS["dense"]())
    file = folder / "2_Dense" / "model.safetensors"
    tensors = load_file(file)
    file.unlink()
    save_file(tensors | change, file) if change else None

    with pytest.raises(ModelError, match=message):
        run(folder)
