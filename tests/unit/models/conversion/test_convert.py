"""hearth convert: pickled weights become the same tensors as safetensors, and nothing that they ask for is run."""

import json
import os
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from models import LoadOptions, ModelError, convert_folder, load_backend, load_preprocessor, pull_model
from models.checkpoint.files import INDEX, WEIGHTS
from models.checkpoint.manifest import read_manifest
from models.conversion.convert import PROGRAM
from server.cli.convert import convert
from tests.support.checkpoints.qwen3 import build
from tests.unit.models.networks.test_bookkeeping import vectors


class Bomb:
    """A pickle of this runs a command when it is read with the pickle module."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("convert") / "m")


@pytest.fixture
def pickled(plain: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "m"
    shutil.copytree(plain, folder)
    torch.save(load_file(str(folder / WEIGHTS)), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    return folder


def test_the_tensors_are_the_same_and_the_model_is_served(plain: Path, pickled: Path) -> None:
    options = LoadOptions(dtype="float32", device="cpu")
    with pytest.raises(ModelError, match=r"are not served; .*: hearth convert FOLDER"):
        load_preprocessor(pickled, options)

    converted = convert_folder(pickled)

    expected, written = load_file(str(plain / WEIGHTS)), load_file(str(pickled / WEIGHTS))
    assert {name: tensor.dtype for name, tensor in written.items()} == {n: t.dtype for n, t in expected.items()}
    assert converted.tensors == len(written) and converted.files == (WEIGHTS,)
    assert (pickled / WEIGHTS).stat().st_mode == (pickled / "config.json").stat().st_mode, "others may read it as well"
    rows = load_preprocessor(plain, options).info.table_rows
    ours, theirs = (
        vectors(load_backend(folder, load_preprocessor(folder, options).info, options), rows)
        for folder in (pickled, plain)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_shards_keep_their_number_and_get_an_index(pickled: Path, tmp_path: Path) -> None:
    weights = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    (pickled / "pytorch_model.bin").unlink()
    names = sorted(weights)
    for number in (1, 2):
        part = {name: weights[name] for name in names[number - 1 :: 2]}
        torch.save(part, pickled / f"pytorch_model-0000{number}-of-00002.bin")

    converted = convert_folder(pickled, tmp_path / "to")

    assert converted.files == ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", INDEX)
    assert sorted(json.loads((tmp_path / "to" / INDEX).read_text())["weight_map"]) == names
    load_preprocessor(tmp_path / "to")
    (pickled / "pytorch_model-00001-of-00002.bin").unlink()
    with pytest.raises(ModelError, match="there are 1 of 2 shards"):
        convert_folder(pickled)


def test_tied_shared_and_odd_tensors_keep_their_values(pickled: Path) -> None:
    weights = torch.load(pickled / "pytorch_model.bin", weights_only=True)
    table = weights["embed_tokens.weight"]
    odd = torch.arange(12, dtype=torch.bfloat16).view(3, 4)
    more = {
        "lm_head.weight": table,
        "turned": odd.t(),
        "slice": odd[1],
        "other": odd,
        "whole": torch.tensor(float("nan")),
    }
    torch.save({"state_dict": {**weights, **more}, "epoch": 3}, pickled / "pytorch_model.bin")

    convert_folder(pickled)

    written = load_file(str(pickled / WEIGHTS))
    assert "lm_head.weight" not in written
    assert torch.equal(written["turned"], odd.t()) and torch.equal(written["slice"], odd[1])
    assert written["turned"].dtype == torch.bfloat16


def test_a_pickle_that_would_run_a_command_does_not_and_nothing_is_written(pickled: Path, tmp_path: Path) -> None:
    torch.save(
        {"embed_tokens.weight": torch.zeros(2, 2), "more": Bomb(tmp_path / "ran")}, pickled / "pytorch_model.bin"
    )

    with pytest.raises(ModelError, match="is not read without running code"):
        convert_folder(pickled)

    assert not (tmp_path / "ran").exists()
    assert not list(pickled.glob("*.safetensors*"))


@pytest.mark.parametrize("holds", [{}, [1, 2], {"a": 3}])
def test_what_holds_no_tensors_is_refused(pickled: Path, holds: object) -> None:
    torch.save(holds, pickled / "pytorch_model.bin")

    with pytest.raises(ModelError, match="it holds"):
        convert_folder(pickled)


def test_a_folder_with_safetensors_has_nothing_to_convert(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its weights are safetensors"):
        convert_folder(plain)
    with pytest.raises(ModelError, match="it is no folder"):
        convert_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("way", "number"),
    # Network unreachable, or operation not permitted.
    [("unpickle['isolate']()", {101, 1}), ("unpickle['_refuse_sockets'](ctypes.CDLL(None, use_errno=True))", {1})],
)
def test_the_reader_has_no_network(way: str, number: set[int]) -> None:
    code = (
        f"import ctypes, runpy, socket; unpickle = runpy.run_path({str(PROGRAM)!r}); print({way})\n"
        "try: socket.create_connection(('127.0.0.1', 9), 2)\nexcept OSError as error: print(error.errno)"
    )

    said, errno = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    if said.startswith(("without", "False")):
        pytest.skip(f"this machine: {said}")
    assert int(errno) in number


def test_the_command_says_what_it_wrote_and_how(pickled: Path) -> None:
    text = StringIO()

    convert(pickled, None, Console(file=text, width=400))

    assert "tensors" in text.getvalue() and "in model.safetensors; each was compared" in text.getvalue()
    assert "the pickles were read with" in text.getvalue() or "the pickles were read in" in text.getvalue()


def test_pull_converts_on_demand(pickled: Path, tmp_path: Path) -> None:
    def silent(what: str, total: int) -> object:
        return lambda advance: None

    folder = tmp_path / "pulled"
    with pytest.raises(ModelError, match="pickles"):
        pull_model(str(pickled), folder, revision=None, watch=silent)  # type: ignore[arg-type]

    pull_model(
        str(pickled),
        folder,
        revision=None,
        watch=silent,
        convert=lambda path: convert_folder(path).files,  # type: ignore[arg-type]
    )

    manifest = read_manifest(folder)
    assert manifest is not None and WEIGHTS in manifest.files
    assert not (folder / "pytorch_model.bin").exists()
    load_preprocessor(folder)
