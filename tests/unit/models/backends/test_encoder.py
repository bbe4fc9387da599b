"""Backend encoder: the vectors of sentence-transformers, alone and in a batch, and what it refuses."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models import Backend, Item, LoadOptions, ModelError, Readout, load_backend
from tests.support.checkpoints.classifiers import cross_encoder
from tests.support.networks.embeddings import run
from tests.support.networks.one_at_a_time import Matrix, cosines
from tests.support.networks.tiny_networks import CONFIGS, alone, save, texts

FLOAT32 = LoadOptions(dtype="float32")


def vectors(backend: Backend) -> Matrix:
    return np.stack(backend.launch([Item(ids, Readout("vector")) for ids in texts()]).rows())


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_a_batch_gives_the_librarys_vectors_of_each_text_alone(tmp_path: Path, pooling: str) -> None:
    info = save(tmp_path, CONFIGS["bert"](), pooling)

    backend = load_backend(tmp_path, info, FLOAT32)

    assert (backend.info.backend, backend.info.layout) == ("encoder", "unpadded")
    assert cosines(vectors(backend), alone(tmp_path, pooling)).min() >= 0.999999


def test_the_reason_says_that_the_operator_asked_for_it(tmp_path: Path) -> None:
    info = save(tmp_path, CONFIGS["bert"]())

    assert load_backend(tmp_path, info, LoadOptions(backend="encoder")).info.reason == "asked for"


def test_a_row_that_overflows_is_computed_again_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = save(tmp_path, CONFIGS["bert"]())
    backend = load_backend(tmp_path, info, LoadOptions(dtype="bfloat16"))
    network = backend._network
    dtypes: list[torch.dtype] = []

    def spoilt(tokens: torch.Tensor, positions: torch.Tensor, layout: object, dtype: torch.dtype) -> torch.Tensor:
        dtypes.append(dtype)
        states = network(tokens, positions, layout, dtype)
        return states * torch.nan if dtype == torch.bfloat16 else states

    monkeypatch.setattr(backend, "_network", spoilt)

    [row] = backend.launch([Item(torch.arange(5).int().numpy(), Readout("vector"))]).rows()

    assert dtypes == [torch.bfloat16, torch.float32]
    assert torch.isfinite(torch.from_numpy(row)).all()


def test_a_reranker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the backend encoder runs embedders only"):
        run(cross_encoder(tmp_path / "m", "Bert"), "encoder")


def test_a_checkpoint_that_it_does_not_know_is_refused_by_name(tmp_path: Path) -> None:
    info = save(tmp_path, CONFIGS["roberta"]())

    with pytest.raises(ModelError, match="does not support the model_type 'roberta'"):
        load_backend(tmp_path, info, LoadOptions(backend="encoder"))


def test_it_needs_no_import_of_transformers(tmp_path: Path) -> None:
    program = "import sys, models.backends.encoder; print('transformers' in sys.modules)"

    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "False"
