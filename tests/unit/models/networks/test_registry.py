"""A packed architecture consists of its file, its config reader and one row of the table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import Item, LoadOptions, Readout, load_backend, load_preprocessor
from models.checkpoint.folder import Checkpoint
from models.networks.qwen3 import Qwen3
from models.networks.qwen3_config import QWEN3_ENTRIES, Qwen3Config, read_qwen3_config
from models.networks.registry import ARCHITECTURES, Architecture, why_not_packed
from tests.support.checkpoints.qwen3 import build


class ToyNetwork(Qwen3):
    """Qwen3 under another model_type."""


def read_toy_config(config: Mapping[str, Any]) -> Qwen3Config:
    return read_qwen3_config({**config, "model_type": "qwen3"})


def test_one_row_serves_a_new_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qwen3, toy = build(tmp_path / "qwen3"), build(tmp_path / "toy", model_type="toy")
    monkeypatch.setitem(ARCHITECTURES, "toy", Architecture(read_toy_config, QWEN3_ENTRIES, __name__, "ToyNetwork"))
    item = Item(np.arange(3, 40, dtype=np.int32), Readout("vector"))

    backend, expected = (
        load_backend(folder, load_preprocessor(folder).info, LoadOptions(dtype="float32")) for folder in (toy, qwen3)
    )

    assert backend.info.backend == "packed"
    assert backend.info.reason == "every setting of this toy checkpoint is supported"
    np.testing.assert_array_equal(backend.launch([item]).rows()[0], expected.launch([item]).rows()[0])


def test_a_model_type_without_a_row_is_named(tmp_path: Path) -> None:
    checkpoint = Checkpoint(build(tmp_path, model_type="toy"))

    assert why_not_packed(checkpoint) == "no packed network supports the model_type 'toy' (supported: qwen3)"


def test_a_setting_that_the_network_lacks_is_named(tmp_path: Path) -> None:
    assert "use_sliding_window" in str(why_not_packed(Checkpoint(build(tmp_path, use_sliding_window=True))))
