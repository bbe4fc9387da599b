"""Parts behind the pooling: ours equal sentence-transformers', and what is not ours runs through its own modules."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library

from models import Backend, Item, LoadOptions, ModelError, NonFinite, Readout, TextModel, load_backend, load_text
from models.backends.sentence_transformers import ModulesBackend
from tests.checkpoints import build
from tests.embedders import WIDTH, random_norm, save_encoder

TEXTS = (
    "mars",
    "what is the capital of france?",
    "paris is the capital of france. " * 3,
    "the red planet is mars, a planet.",
    "a",
)
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
# What only the library's own modules do.
OTHERS: dict[str, Any] = {
    "two-poolings": lambda: [library.Pooling(WIDTH, ("cls", "mean")), library.Dense(2 * WIDTH, 20)],
    "weightedmean": lambda: [library.Pooling(WIDTH, "weightedmean")],
    "mean-sqrt-len": lambda: [library.Pooling(WIDTH, "mean_sqrt_len_tokens"), library.Normalize()],
    "residual": lambda: [library.Pooling(WIDTH, "mean"), library.Dense(WIDTH, WIDTH, use_residual=True)],
    "activation": lambda: [
        library.Pooling(WIDTH, "mean"),
        library.Dense(WIDTH, WIDTH, activation_function=torch.nn.Mish()),
    ],
}


def theirs(folder: Path) -> NDArray[np.float32]:
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    return np.asarray(model.encode(list(TEXTS), normalize_embeddings=True))


def ours(text: TextModel, backend: Backend) -> NDArray[np.float32]:
    ids = [text.tokenizer.with_special_tokens(each) for each in text.tokenizer.encode(TEXTS)]
    rows = np.stack(backend.launch([Item(each, Readout("vector")) for each in ids]).rows())
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def run(folder: Path, backend: str = "auto", dtype: Any = "float32") -> tuple[TextModel, Backend]:
    text = load_text(folder)
    return text, load_backend(folder, text.info, LoadOptions(dtype=dtype, backend=backend))


def worst_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float((one.astype(np.float64) * other).sum(axis=1).min())


@pytest.mark.parametrize("backend", ["auto", "sentence_transformers"])
@pytest.mark.parametrize("behind", TAILS)
def test_what_stands_behind_a_pooling_is_computed_as_the_library_does(
    tmp_path: Path, behind: str, backend: str
) -> None:
    folder = save_encoder(tmp_path / "model", TAILS[behind]())

    text, loaded = run(folder, backend)

    assert loaded.info.backend == ("transformers" if backend == "auto" else backend)
    assert worst_cosine(ours(text, loaded), theirs(folder)) >= 0.999999
    assert text.info.width == theirs(folder).shape[1]


@pytest.mark.parametrize("behind", OTHERS)
def test_other_parts_run_through_the_librarys_own_modules(tmp_path: Path, behind: str) -> None:
    folder = save_encoder(tmp_path / "model", OTHERS[behind]())

    text, loaded = run(folder)

    assert loaded.info.backend == "sentence_transformers"
    assert loaded.info.reason == text.info.library_modules
    assert worst_cosine(ours(text, loaded), theirs(folder)) >= 0.999999
    assert text.info.width == theirs(folder).shape[1]


def test_half_of_a_network_runs_through_the_librarys_own_modules(tmp_path: Path) -> None:
    """sentence-t5 and instructor: the encoder of T5, a projection without bias, unit vectors."""
    behind = [library.Pooling(WIDTH, "mean"), library.Dense(WIDTH, 24, bias=False), library.Normalize()]
    folder = save_encoder(tmp_path / "model", behind, name="T5", max_seq_length=64)

    text, loaded = run(folder)

    assert loaded.info.backend == "sentence_transformers"
    assert loaded.info.reason == "sentence-transformers takes one half of the network: t5"
    assert (text.info.width, text.info.max_tokens) == (24, 64)
    assert worst_cosine(ours(text, loaded), theirs(folder)) >= 0.999999


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


@pytest.mark.parametrize("backend", ["packed", "transformers"])
def test_a_backend_that_lacks_a_part_is_refused_though_asked_for(tmp_path: Path, backend: str) -> None:
    folder = save_encoder(tmp_path / "model", OTHERS["weightedmean"]())

    with pytest.raises(ModelError, match=f"cannot be run by {backend}: there is no pooling of ours for: weightedmean"):
        run(folder, backend)


def test_a_part_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", TAILS["dense"]())
    file = folder / "modules.json"
    file.write_text(file.read_text().replace(json.loads(file.read_text())[2]["type"], "custom_dense.Dense"))

    with pytest.raises(ModelError, match=r"no remote code is run: custom_dense\.Dense"):
        load_text(folder)


@pytest.mark.parametrize("kind", ["SparseEncoder", "MultiVectorEncoder"])
def test_a_model_of_other_vectors_is_refused(tmp_path: Path, kind: str) -> None:
    folder = build(tmp_path / "m")
    file = folder / "config_sentence_transformers.json"
    file.write_text(json.dumps({"model_type": kind}))

    with pytest.raises(ModelError, match=f"other than one dense vector a text, which is not served: {kind}"):
        load_text(folder)


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


def test_weights_that_the_library_would_make_up_are_named(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", OTHERS["weightedmean"]())
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match=r"lacks weights of BertModel: encoder\.layer\.1\.output\.dense\.weight"):
        run(folder)


# The Dense behind two poolings ends in a Tanh, which makes 1 of an Inf.
@pytest.mark.parametrize("behind", ["weightedmean", "two-poolings"])
def test_overflow_in_bfloat16_is_computed_again_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: str
) -> None:
    folder = save_encoder(tmp_path / "model", OTHERS[behind]())
    text, loaded = run(folder, dtype="bfloat16")
    assert isinstance(loaded, ModulesBackend)
    part = loaded._modules[0].model.encoder.layer[1].output.LayerNorm  # type: ignore[union-attr, index]
    forward = part.forward

    def overflowing(hidden: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = forward(hidden)
        return states if hidden.dtype == torch.float32 else states.index_fill(2, torch.tensor([0]), torch.inf)

    monkeypatch.setattr(part, "forward", overflowing)

    assert worst_cosine(ours(text, loaded), theirs(folder)) >= 0.999


def test_nan_is_reported_for_its_rows(tmp_path: Path) -> None:
    _, loaded = run(save_encoder(tmp_path / "model", OTHERS["weightedmean"]()))
    assert isinstance(loaded, ModulesBackend)
    with torch.no_grad():
        loaded._modules[0].model.embeddings.word_embeddings.weight[7] = torch.nan  # type: ignore[union-attr, index]

    with pytest.raises(NonFinite) as caught:
        loaded.launch([Item(np.array(ids, np.int32), Readout("vector")) for ids in ([5, 6], [7], [8])]).rows()

    assert caught.value.indexes == (1,)


def test_ids_of_the_padding_token_are_tokens_like_others(tmp_path: Path) -> None:
    text, loaded = run(save_encoder(tmp_path / "model", OTHERS["weightedmean"]()))
    item = Item(np.array([0, 5, 0], np.int32), Readout("vector"))
    longer = Item(np.array([0, 5, 0, 9], np.int32), Readout("vector"))

    assert np.allclose(loaded.launch([item, longer]).rows()[0], loaded.launch([item]).rows()[0], atol=1e-6)
    assert text.info.library_modules
