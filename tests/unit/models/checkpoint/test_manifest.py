"""A folder is held against its manifest when its model loads."""

import json
from pathlib import Path

import pytest

from models import ModelError, load_backend, load_preprocessor, pull_model
from models.checkpoint.manifest import read_manifest
from tests.support.checkpoints.qwen3 import build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pulled model."""
    pull_model(str(build(tmp_path / "m", shards=2)), tmp_path / "m", revision=None, watch=lambda *_: lambda _: None)
    return tmp_path / "m"


def load(folder: Path) -> None:
    load_backend(folder, load_preprocessor(folder).info)


def change_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_a_sound_folder_loads_and_the_log_says_what_it_cost(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    load(folder)

    assert "the weights match manifest.json; read 0.00 GB in" in caplog.text


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "1_Pooling/config.json", "modules.json"])
def test_a_changed_text_file_is_found_before_anything_is_read(folder: Path, name: str) -> None:
    change_byte(folder / name)

    with pytest.raises(ModelError, match=rf"{name} has changed, according to manifest\.json; copy the folder again"):
        load_preprocessor(folder)


def test_a_changed_weight_is_found_when_the_weights_load(folder: Path) -> None:
    change_byte(folder / "model-00002-of-00002.safetensors")

    text = load_preprocessor(folder)
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors has changed"):
        load_backend(folder, text.info)


def test_a_truncated_weight_file_is_found_by_its_length(folder: Path) -> None:
    shard = folder / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-9])

    with pytest.raises(ModelError, match=rf"00001-of-00002\.safetensors is {shard.stat().st_size} bytes long, not"):
        load_preprocessor(folder)


def test_a_missing_file_is_found(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").unlink()

    with pytest.raises(ModelError, match=r"1_Pooling/config\.json is missing, according to manifest\.json"):
        load_preprocessor(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "vocab.txt", "generation_config.json", "2_Dense/config.json"])
def test_a_file_that_is_not_listed_is_found(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}", "utf-8")

    with pytest.raises(ModelError, match=f"{name} is not listed, according to manifest"):
        load_preprocessor(folder)


def test_files_that_are_no_part_of_a_model_may_lie_beside(folder: Path) -> None:
    (folder / "notes.md").write_text("mine", "utf-8")

    load(folder)


def test_several_faults_are_counted(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "modules.json").unlink()

    with pytest.raises(ModelError, match=r"\(and 1 more\)"):
        load_preprocessor(folder)


def test_somebody_elses_manifest_is_left_alone(tmp_path: Path) -> None:
    folder = build(tmp_path / "m")
    (folder / "manifest.json").write_text('{"schema": "ollama"}', "utf-8")

    assert read_manifest(folder) is None
    load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"manifest\.json is not valid JSON"),
        ('{"schema": "hearth-manifest/2"}', "was written by another version of Hearth"),
        ('{"schema": "hearth-manifest/1"}', "is damaged; pull or copy the folder again: KeyError"),
        ('{"schema": "hearth-manifest/1", "source": "a", "revision": null, "files": []}', "is damaged"),
        ('{"schema": "hearth-manifest/1", "source": "a", "revision": null, "files": {"a": {"size": 1}}}', "is damaged"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_one_sentence(folder: Path, content: str, message: str) -> None:
    (folder / "manifest.json").write_text(content, "utf-8")

    with pytest.raises(ModelError, match=message):
        load_preprocessor(folder)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret", "outside the folder: '../secret'"),
        ("/etc/passwd", "outside the folder: '/etc/passwd'"),
        ("a\0b", "with a control character in its name: 'a\\\\x00b'"),
        ("a" * 100_000, "with a name of more than 255 bytes: 'a{100}"),
    ],
    ids=["above", "absolute", "NUL", "long"],
)
def test_a_manifest_names_only_files_of_its_folder(folder: Path, name: str, reason: str) -> None:
    file = folder / "manifest.json"
    document = json.loads(file.read_text("utf-8"))
    document["files"][name] = {"bytes": 1, "sha256": "0"}
    file.write_text(json.dumps(document), "utf-8")

    with pytest.raises(ModelError, match=f"lists a file {reason}"):
        load_preprocessor(folder)
