"""An entry of config.json costs a model its start or its network only if it changes numbers; then it is named."""

import inspect
import json
import logging
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from models import LoadOptions, ModelError, load_backend, load_preprocessor
from models.backends.huggingface.config import library_config
from models.checkpoint.folder import Checkpoint
from models.networks.bert_config import BERT_ENTRIES
from models.networks.qwen3_config import QWEN3_ENTRIES
from models.networks.registry import why_not_packed
from tests.support.checkpoints.qwen3 import build
from tests.support.published_configs import FAMILIES, REFUSED, ROWS
from tests.unit.models.networks.test_bookkeeping import bert, vectors

UNREAD = {"entry_of_next_year": 1, "trained_by": "somebody"}


def write(folder: Path, family: str, entries: dict[str, Any]) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps(FAMILIES[family] | entries))
    return Checkpoint(folder)


def add(folder: Path, entries: dict[str, Any]) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))
    return folder


@pytest.mark.parametrize(("name", "family", "entries"), ROWS, ids=[row[0] for row in ROWS])
def test_a_published_config_is_read(tmp_path: Path, name: str, family: str, entries: dict[str, Any]) -> None:
    checkpoint = write(tmp_path, family, entries)

    assert library_config(checkpoint).model_type == family
    assert family != "qwen3" or why_not_packed(checkpoint) is None


def test_a_hundred_published_models_stand_for_the_families() -> None:
    assert len({name for name, _, _ in ROWS}) == len(ROWS) >= 100
    assert {family for _, family, _ in ROWS} == set(FAMILIES)


@pytest.mark.parametrize(("name", "family", "entries", "named"), REFUSED, ids=[row[0] for row in REFUSED])
def test_an_entry_that_changes_numbers_is_refused_by_name(
    tmp_path: Path, name: str, family: str, entries: dict[str, Any], named: str
) -> None:
    checkpoint = write(tmp_path, family, entries)

    with pytest.raises(ModelError, match=rf"ignore_entries: \[{named}[\],]"):
        library_config(checkpoint)

    assert why_not_packed(checkpoint) is not None
    library_config(Checkpoint(tmp_path, frozenset(entries)))


@pytest.mark.parametrize(("make", "backend"), [(build, "packed"), (bert, "encoder"), (bert, "transformers")])
def test_other_entries_change_nothing_and_are_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Any, backend: str
) -> None:
    folder = make(tmp_path / "m")
    options = LoadOptions(dtype="float32", device="cpu", backend="auto" if backend != "transformers" else backend)
    info = load_preprocessor(folder, options).info
    plain = vectors(load_backend(folder, info, options), info.table_rows)
    add(folder, UNREAD)

    with caplog.at_level(logging.WARNING, "hearth.models"):
        backend_with = load_backend(folder, load_preprocessor(folder, options).info, options)

    said = [record.getMessage() for record in caplog.records if "entry_of_next_year, trained_by" in record.getMessage()]
    assert len(said) == 1 and "ignore_entries" in said[0]
    assert backend_with.info.backend == backend
    np.testing.assert_array_equal(vectors(backend_with, info.table_rows), plain)
    caplog.clear()
    ignoring = LoadOptions(dtype="float32", device="cpu", backend=options.backend, ignore_entries=tuple(UNREAD))
    load_backend(folder, load_preprocessor(folder, ignoring).info, ignoring)
    assert "entry_of_next_year" not in caplog.text


def test_ignoring_an_entry_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no entry that `ignore_entries` names: alibii"):
        load_preprocessor(build(tmp_path / "m"), LoadOptions(ignore_entries=("alibii",)))


def test_the_log_says_why_a_qwen3_is_not_packed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = add(build(tmp_path / "m"), {"is_causal": False})
    options = LoadOptions(dtype="float32", device="cpu")

    backend = load_backend(folder, load_preprocessor(folder, options).info, options)

    assert backend.info.backend == "transformers"
    assert "is not run by `packed`, which is several times as fast: " in caplog.text
    assert "is_causal = False in config.json, but causal attention alone" in caplog.text


@pytest.mark.parametrize(("family", "known"), [("qwen3", QWEN3_ENTRIES), ("bert", BERT_ENTRIES)])
def test_our_networks_know_every_entry_that_the_library_reads(family: str, known: frozenset[str]) -> None:
    config_class = transformers.CONFIG_MAPPING[family]
    source = inspect.getsource(import_module(f"transformers.models.{family}.modeling_{family}"))
    read = set(re.findall(r"config\.([a-z]\w+)", source)) | set(config_class().to_dict())

    assert read <= known
