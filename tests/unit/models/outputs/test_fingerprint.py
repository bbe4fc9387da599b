"""The name that a model has by the content of its files."""

import json
import os
import shutil
from pathlib import Path

import pytest

from models import demo_models
from models.checkpoint.folder import Checkpoint
from models.checkpoint.manifest import Manifest, record_files, write_manifest
from models.outputs import fingerprint
from models.outputs.fingerprint import Checksums, bytes_to_read, digest_of, model_digest

EMBEDDER = Path(demo_models()[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the demo embedder's folder that may be changed."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in EMBEDDER.iterdir():
        if file.is_dir():
            shutil.copytree(file, copy / file.name)
        else:
            shutil.copyfile(file, copy / file.name)
    return copy


def _digest(folder: Path, checksums: Checksums | None = None) -> str:
    return model_digest(Checkpoint(folder), checksums or Checksums(None))


def _edit(file: Path, **entries: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | entries), "utf-8")


def test_a_copy_has_the_same_name(folder: Path) -> None:
    assert _digest(folder) == _digest(EMBEDDER)
    assert len(_digest(folder)) == 16


def test_one_byte_of_the_weights_makes_another_model(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)

    assert _digest(folder) != _digest(EMBEDDER)


@pytest.mark.parametrize(
    ("entries", "is_same"),
    [
        ({"transformers_version": "9.9", "torch_dtype": "float64", "_name_or_path": "x"}, True),
        ({"rms_norm_eps": 0.5}, False),
        ({"unheard_of": 1}, False),
    ],
)
def test_only_entries_that_may_change_numbers_count(folder: Path, entries: dict[str, object], is_same: bool) -> None:
    _edit(folder / "config.json", **entries)

    assert (_digest(folder) == _digest(EMBEDDER)) == is_same


def test_another_tokenizer_or_pooling_makes_another_model(folder: Path) -> None:
    names = {_digest(folder)}
    _edit(folder / "tokenizer.json", comment=1)
    names.add(_digest(folder))
    pooling = next(folder.glob("*_Pooling")) / "config.json"
    _edit(pooling, pooling_mode_mean_tokens=True)
    names.add(_digest(folder))

    assert len(names) == 3


def test_a_manifest_gives_the_checksums_without_reading_weights(folder: Path) -> None:
    plain = _digest(folder)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    write_manifest(folder, Manifest("a", None, record_files(folder, names)))

    assert bytes_to_read(Checkpoint(folder), Checksums(None)) == 0
    assert _digest(folder) == plain


def test_checksums_are_kept_until_the_file_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "KEPT_BYTES", 0)
    checksums, file = Checksums(tmp_path / "state"), folder / "model.safetensors"
    digest = _digest(folder, checksums)

    assert bytes_to_read(Checkpoint(folder), checksums) == 0
    assert _digest(folder, checksums) == digest

    os.utime(file, ns=(1, 1))
    assert bytes_to_read(Checkpoint(folder), checksums) == file.stat().st_size
    assert _digest(folder, checksums) == digest


def test_a_folder_that_cannot_be_written_to_keeps_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "KEPT_BYTES", 0)
    (tmp_path / "state").write_text("a file", "ascii")

    assert _digest(folder, Checksums(tmp_path / "state")) == _digest(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"file": 1}'])
def test_a_damaged_entry_is_read_as_none(folder: Path, tmp_path: Path, content: str) -> None:
    checksums, file = Checksums(tmp_path / "state"), folder / "model.safetensors"
    entry = checksums._entry(file)
    entry.parent.mkdir(parents=True)
    entry.write_text(content, "utf-8")

    assert checksums.known(file) is None


def test_the_order_of_keys_does_not_count() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1}) != digest_of({"a": 1, "b": [3]})
