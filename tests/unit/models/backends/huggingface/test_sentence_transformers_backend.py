"""Modules that only sentence-transformers has run by its own code, on our token ids."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.sentence_transformer import modules as library

from models import Item, ModelError, NonFinite, Readout
from models.backends.huggingface.sentence_transformers_backend import ModulesBackend
from tests.support.checkpoints.encoders import WIDTH, save_encoder
from tests.support.networks.embeddings import ours, reference, run, worst_cosine

# Modules that only the library has.
LIBRARY_MODULES: dict[str, Any] = {
    "two-poolings": lambda: [library.Pooling(WIDTH, ("cls", "mean")), library.Dense(2 * WIDTH, 20)],
    "weightedmean": lambda: [library.Pooling(WIDTH, "weightedmean")],
    "mean-sqrt-len": lambda: [library.Pooling(WIDTH, "mean_sqrt_len_tokens"), library.Normalize()],
    "residual": lambda: [library.Pooling(WIDTH, "mean"), library.Dense(WIDTH, WIDTH, use_residual=True)],
    "activation": lambda: [
        library.Pooling(WIDTH, "mean"),
        library.Dense(WIDTH, WIDTH, activation_function=torch.nn.Mish()),
    ],
}


@pytest.mark.parametrize("modules", LIBRARY_MODULES)
def test_other_modules_run_through_the_librarys_own_modules(tmp_path: Path, modules: str) -> None:
    folder = save_encoder(tmp_path / "model", LIBRARY_MODULES[modules]())

    text, loaded = run(folder)

    assert loaded.info.backend == "sentence_transformers"
    assert loaded.info.layout == "padded"
    assert loaded.info.reason == text.info.library_modules
    assert worst_cosine(ours(text, loaded), reference(folder)) >= 0.999999
    assert text.info.width == reference(folder).shape[1]


@pytest.mark.parametrize("modules", ["two-poolings", "residual", "activation"])
def test_projections_are_computed_in_float32_behind_a_network_in_bfloat16(tmp_path: Path, modules: str) -> None:
    folder = save_encoder(tmp_path / "model", LIBRARY_MODULES[modules]())

    text, loaded = run(folder, dtype="bfloat16")

    assert worst_cosine(ours(text, loaded), reference(folder)) >= 0.999


def test_half_of_a_network_runs_through_the_librarys_own_modules(tmp_path: Path) -> None:
    """sentence-t5 and instructor: the encoder of T5, a projection without bias, unit vectors."""
    modules = [library.Pooling(WIDTH, "mean"), library.Dense(WIDTH, 24, bias=False), library.Normalize()]
    folder = save_encoder(tmp_path / "model", modules, name="T5", max_seq_length=64)

    text, loaded = run(folder)

    assert loaded.info.backend == "sentence_transformers"
    assert loaded.info.reason == "sentence-transformers takes one half of the network: t5"
    assert (text.info.width, text.info.max_tokens) == (24, 64)
    assert worst_cosine(ours(text, loaded), reference(folder)) >= 0.999999


def test_weights_that_the_library_would_make_up_are_named(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", LIBRARY_MODULES["weightedmean"]())
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match=r"lacks weights of BertModel: encoder\.layer\.1\.output\.dense\.weight"):
        run(folder)


# The Dense after two poolings ends in a Tanh, which turns Inf into 1.
@pytest.mark.parametrize("modules", ["weightedmean", "two-poolings"])
def test_overflow_in_bfloat16_is_computed_again_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modules: str
) -> None:
    folder = save_encoder(tmp_path / "model", LIBRARY_MODULES[modules]())
    text, loaded = run(folder, dtype="bfloat16")
    assert isinstance(loaded, ModulesBackend)
    part = loaded._modules[0].model.encoder.layer[1].output.LayerNorm  # type: ignore[union-attr, index]
    forward = part.forward

    def overflowing(hidden: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = forward(hidden)
        return states if hidden.dtype == torch.float32 else states.index_fill(2, torch.tensor([0]), torch.inf)

    monkeypatch.setattr(part, "forward", overflowing)

    assert worst_cosine(ours(text, loaded), reference(folder)) >= 0.999


def test_nan_is_reported_for_its_rows(tmp_path: Path) -> None:
    _, loaded = run(save_encoder(tmp_path / "model", LIBRARY_MODULES["weightedmean"]()))
    assert isinstance(loaded, ModulesBackend)
    with torch.no_grad():
        loaded._modules[0].model.embeddings.word_embeddings.weight[7] = torch.nan  # type: ignore[union-attr, index]

    with pytest.raises(NonFinite) as caught:
        loaded.launch([Item(np.array(ids, np.int32), Readout("vector")) for ids in ([5, 6], [7], [8])]).rows()

    assert caught.value.indexes == (1,)


def test_ids_of_the_padding_token_are_tokens_like_others(tmp_path: Path) -> None:
    text, loaded = run(save_encoder(tmp_path / "model", LIBRARY_MODULES["weightedmean"]()))
    item = Item(np.array([0, 5, 0], np.int32), Readout("vector"))
    longer = Item(np.array([0, 5, 0, 9], np.int32), Readout("vector"))

    assert np.allclose(loaded.launch([item, longer]).rows()[0], loaded.launch([item]).rows()[0], atol=1e-6)
    assert text.info.library_modules
