"""Whole models from quantised folders: every number of an answer is that of the same folder with plain weights."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers.sentence_transformer import modules as library

from models import Item, LoadOptions, ModelError, Readout, load_backend, load_preprocessor
from models.interface import BackendInfo, Dtype
from tests.support.checkpoints.encoders import WIDTH, save_encoder
from tests.support.checkpoints.quantized import FORMATS, quantize_folder
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.one_at_a_time import Matrix
from tests.support.networks.tiny_networks import texts
from tests.support.zoo.build import build as build_twin
from tests.support.zoo.catalogue import ZOO

# One way to read weights each, with partial blocks of 128: 192 and 576 rows.
SIZES = {"hidden_size": 192, "intermediate_size": 576}
BY_NAME = {format_.name: format_ for format_ in FORMATS}
SHAPED = ("fp8", "compressed-int4-asymmetric-ordered", "bitsandbytes-nf4-nested", "awq", "gptq-by-activations")
TWINS = {recipe.name: recipe for recipe in ZOO}


def projections(name: str) -> bool:
    return "_proj" in name and name.endswith(".weight")


def dense(name: str) -> bool:
    return "encoder.layer" in name and name.endswith(("dense.weight", "query.weight"))


def run(folder: Path, backend: str, dtype: Dtype = "float32") -> tuple[Matrix, BackendInfo]:
    preprocessor = load_preprocessor(folder)
    loaded = load_backend(folder, preprocessor.info, LoadOptions(dtype=dtype, backend=backend))
    ids = [preprocessor.tokenizer.with_special_tokens(ids) for ids in preprocessor.tokenizer.encode(["a b", "c d e f"])]
    rows = loaded.launch([Item(text, Readout("vector")) for text in (ids if backend == "auto" else texts())]).rows()
    return np.stack(rows), loaded.info


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("backend", ["packed", "transformers"])
@pytest.mark.parametrize("name", SHAPED)
def test_a_quantised_qwen3_gives_the_numbers_of_its_plain_weights(
    name: str, backend: str, dtype: Dtype, tmp_path: Path
) -> None:
    plain = build(tmp_path / "m", "llm", **SIZES)
    quantize_folder(plain, BY_NAME[name], matrices=projections)

    vectors, about = run(tmp_path / "m-quantized", backend, dtype)

    expected, plain_about = run(plain, backend, dtype)
    assert np.array_equal(vectors, expected)
    assert about.parameters == plain_about.parameters
    assert (about.backend, about.dtype) == (backend, dtype)


def test_auto_runs_a_quantised_qwen3_packed(tmp_path: Path) -> None:
    quantize_folder(build(tmp_path / "m", **SIZES), BY_NAME["fp8"], matrices=projections)

    info = load_preprocessor(tmp_path / "m-quantized").info

    assert run(tmp_path / "m-quantized", "auto")[1].backend == "packed"
    assert info.quantization == "fp8, blocks of 128 x 128"


@pytest.mark.parametrize("name", ["bitsandbytes-int8", "compressed-fp8-channel"])
def test_a_quantised_bert_gives_the_numbers_of_its_plain_weights(name: str, tmp_path: Path) -> None:
    plain = save_encoder(tmp_path / "m", [library.Pooling(WIDTH, "mean")])
    quantize_folder(plain, BY_NAME[name], matrices=dense)

    vectors, about = run(tmp_path / "m-quantized", "auto")

    assert about.backend == "encoder"
    assert np.array_equal(vectors, run(plain, "auto")[0])


@pytest.mark.parametrize(
    ("twin", "name"),
    [
        ("deepseek-ai/DeepSeek-R1-0528", "fp8"),
        ("moonshotai/Kimi-K2-Instruct-0905", "compressed-int4-groups"),
        ("zai-org/GLM-4.5", "compressed-fp8-channel"),
    ],
)
def test_quantised_experts_are_merged_as_plain_ones(twin: str, name: str, tmp_path: Path) -> None:
    plain = build_twin(TWINS[twin], tmp_path)
    quantize_folder(plain, BY_NAME[name], matrices=projections)

    vectors, about = run(plain.with_name(f"{plain.name}-quantized"), "auto")

    expected, plain_about = run(plain, "auto")
    assert np.array_equal(vectors, expected)
    assert about == plain_about


def test_a_missing_weight_is_named_as_of_plain_weights(tmp_path: Path) -> None:
    plain = build(tmp_path / "m", "llm", **SIZES)
    drop(plain, "model.layers.1.mlp.down_proj.weight")
    quantize_folder(plain, BY_NAME["fp8"], matrices=projections)

    for backend in ("packed", "transformers"):
        with pytest.raises(ModelError, match=r"lacks .*layers\.1\.mlp\.down_proj\.weight"):
            run(tmp_path / "m-quantized", backend)


def test_the_modules_of_sentence_transformers_do_not_read_quantised_weights(tmp_path: Path) -> None:
    quantize_folder(build(tmp_path / "m", **SIZES), BY_NAME["fp8"], matrices=projections)

    with pytest.raises(ModelError, match=r"has quantised weights \(fp8, blocks of 128 x 128\), which the modules of"):
        run(tmp_path / "m-quantized", "sentence_transformers")


def drop(folder: Path, name: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
