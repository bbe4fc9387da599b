"""The fused network equals the plain one. Here on the CPU with the plain kernels, in float32 so that a bug shows."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import Item, LoadOptions, Readout, load_backend, load_preprocessor
from models.backends import packed
from models.backends.packed import PackedBackend
from models.checkpoint.folder import Checkpoint
from models.cuda.kernels import PlainKernels
from models.interface import Ids, Pooling, Row
from models.layers.decoder import Gated, Linear
from models.networks import qwen3
from models.networks.fused.qwen3_fused import FusedQwen3, fuse
from models.networks.qwen3 import Qwen3
from models.networks.qwen3_config import read_qwen3_config
from models.networks.weights import Weights
from tests.support.checkpoints.qwen3 import build

CPU, VECTOR = torch.device("cpu"), Readout("vector")
HEAD = np.arange(40, dtype=np.int32)


@pytest.fixture(scope="module", params=[1, 3], ids=["one layer", "three layers"])
def networks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Qwen3]:
    folder = build(tmp_path_factory.mktemp("fused"), num_hidden_layers=request.param, head_dim=32)
    checkpoint = Checkpoint(folder)
    rows = load_preprocessor(folder).info.table_rows
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(Weights(checkpoint, device=CPU, dtype=torch.float32)) as weights,
    ):
        # As on a GPU, where no weight is prepacked.
        patch.setattr(qwen3, "layers_for", lambda *_: (Linear, Gated))
        return folder, Qwen3(read_qwen3_config(checkpoint.config), weights, rows)


@pytest.fixture(autouse=True)
def no_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(packed, "padded_tokens", lambda tokens, _: tokens)


def backends(networks: tuple[Path, Qwen3], pooling: Pooling) -> list[PackedBackend]:
    """The plain and the fused one."""
    folder, network = networks
    info = replace(load_preprocessor(folder).info, pooling=pooling)
    about = load_backend(folder, info, LoadOptions(device="cpu", dtype="float32", backend="packed")).info
    return [
        PackedBackend(ours, None, None, about, pooling=pooling, device=CPU, dtype=torch.float32)
        for ours in (network, FusedQwen3(network, PlainKernels()))
    ]


def texts() -> list[Ids]:
    random = np.random.default_rng(7)
    drawn = [random.integers(0, 286, n, dtype=np.int32) for n in (1, 2, 33, 33, 150)]
    return [*drawn, *(np.concatenate([HEAD, ids]) for ids in drawn[:4]), HEAD]


def assert_equal(rows: list[Row], expected: list[Row]) -> None:
    np.testing.assert_allclose(np.stack(rows), np.stack(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["lasttoken", "mean"])
def test_vectors_equal_those_of_the_plain_network(networks: tuple[Path, Qwen3], pooling: Pooling) -> None:
    items = [Item(ids, VECTOR) for ids in texts()]

    expected, rows = (backend.launch(items).rows() for backend in backends(networks, pooling))

    assert_equal(rows, expected)


def test_a_prefix_that_is_kept_serves_the_next_batch(networks: tuple[Path, Qwen3]) -> None:
    plain, fused = backends(networks, "lasttoken")
    items = [Item(np.concatenate([HEAD, ids]), VECTOR) for ids in texts()]
    first, second = items[:4], items[4:]
    expected = [row for batch in (first, second) for row in plain.launch(batch).rows()]

    rows = [row for batch in (first, second) for row in fused.launch(batch, keep_prefix=True).rows()]

    assert_equal(rows, expected)
    (prefix,) = fused._prefix_cache.prefixes()
    assert len(prefix.ids) == len(HEAD)


def test_another_dtype_runs_on_the_plain_network(networks: tuple[Path, Qwen3]) -> None:
    plain, fused = (backend._network for backend in backends(networks, "lasttoken"))
    item = Item(np.arange(9, dtype=np.int32), VECTOR)

    expected, rows = (
        PackedBackend(
            ours,
            None,
            None,
            None,
            pooling="lasttoken",
            device=CPU,
            dtype=torch.bfloat16,  # type: ignore[arg-type]
        )
        .launch([item])
        .rows()
        for ours in (plain, fused)
    )

    np.testing.assert_array_equal(rows, expected)


def test_on_a_cpu_the_plain_network_runs(networks: tuple[Path, Qwen3]) -> None:
    _, network = networks

    assert fuse(network, CPU, torch.bfloat16) == (network, "the kernels need a CUDA device")
