"""What of a repository is a model."""

from pathlib import Path

import pytest

from models.checkpoint.files import descriptive_files, is_model_file, names_in


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "tokenizer.json", "vocab.txt", "merges.txt", "spiece.model", "chat_template.jinja"),
        *("model.safetensors", "model-00001-of-00004.safetensors", "model.safetensors.index.json"),
        *("1_Pooling/config.json", "2_Dense/model.safetensors", "0_Transformer/config.json"),
    ],
)
def test_a_file_of_a_model_is_one(name: str) -> None:
    assert is_model_file(name)


@pytest.mark.parametrize(
    "name",
    [
        *("modeling_custom.py", "pytorch_model.bin", "training_args.bin", "model.onnx", "m.gguf", "README.md"),
        *(
            "onnx/config.json",
            "original/model.safetensors",
            "openvino/openvino_model.xml",
            "1_Pooling/deep/config.json",
        ),
        *("consolidated.safetensors", "consolidated.safetensors.index.json", "manifest.json", ".hidden.json"),
        *("2_Dense/pytorch_model.bin", "1_Pooling/code.py"),
    ],
)
def test_what_lies_beside_is_not(name: str) -> None:
    assert not is_model_file(name)


def test_what_describes_a_model_comes_before_its_weights() -> None:
    names = ["config.json", "model.safetensors", "2_Dense/model.safetensors", "LICENSE.md", "README.md", "run.py"]

    assert descriptive_files(names) == ["2_Dense/model.safetensors", "LICENSE.md", "README.md", "config.json"]


def test_only_numbered_folders_are_looked_into(tmp_path: Path) -> None:
    for name in ("1_Pooling", "onnx", "1_Pooling/deep"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    (tmp_path / "config.json").touch()

    assert names_in(tmp_path) == ["1_Pooling/config.json", "config.json"]
