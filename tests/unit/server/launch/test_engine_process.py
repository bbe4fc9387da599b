"""What the engine process makes of its settings."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from models import BackendInfo, Item, LoadOptions, ModelError, OutOfMemory, demo_models, load_preprocessor
from models.backends.fake import FakeBackend
from server.config import Batching, ModelConfig
from server.engine.batching import BatchLimits
from server.launch.engine_process import (
    CPU_BATCH_TOKENS,
    CPU_CHUNK_TOKENS,
    EngineSettings,
    by_device,
    fitting_limits,
    load_models,
    make_limits,
    set_allocator,
)
from server.registry import ServedModel


def test_a_batch_has_the_budget_that_suits_the_device() -> None:
    assert make_limits(Batching(), {"m": FakeBackend()}) == BatchLimits(CPU_BATCH_TOKENS, 2048)


def test_or_the_one_that_the_configuration_gives() -> None:
    assert make_limits(Batching(max_tokens=5, max_items=6), {"m": FakeBackend()}) == BatchLimits(5, 6)


@pytest.mark.parametrize(
    ("configured", "splits_texts", "used"),
    [(None, True, CPU_CHUNK_TOKENS), (0, True, 0), (100, True, 100), (None, False, 0), (100, False, 0)],
)
def test_long_texts_run_in_parts_where_a_backend_can_do_that(
    configured: int | None, splits_texts: bool, used: int, caplog: pytest.LogCaptureFixture
) -> None:
    limits = make_limits(Batching(chunk_tokens=configured), {"m": FakeBackend(splits_texts=splits_texts)})

    assert limits.chunk_tokens == used
    assert ("changes nothing" in caplog.text) == (configured is not None and not splits_texts)


def test_every_model_is_loaded_as_it_was_asked() -> None:
    options = LoadOptions(backend="fake")
    info = load_preprocessor(Path(demo_models()[0]), options).info

    backends = load_models({"one": (info, options), "two": (info, options)})

    assert [backend.info.backend for backend in backends.values()] == ["fake", "fake"]


def test_a_backend_that_does_not_exist_is_an_error_that_names_those_that_do() -> None:
    info = load_preprocessor(Path(demo_models()[0])).info

    with pytest.raises(ModelError, match="choose one of: packed, "):
        load_models({"one": (info, LoadOptions(backend="nope"))})


def test_the_engine_listens_in_the_servers_own_folder(tmp_path: Path) -> None:
    assert EngineSettings(tmp_path, {}, Batching(), "text", "info").address == f"ipc://{tmp_path}/engine-0"


def test_memory_of_a_gpu_grows_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})

    set_allocator()

    assert os.environ == {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}


@pytest.mark.parametrize("variable", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_or_as_the_environment_says(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setattr(os, "environ", {variable: "max_split_size_mb:64"})

    set_allocator()

    assert os.environ == {variable: "max_split_size_mb:64"}


class OnGpu(FakeBackend):
    """A backend that says it is on a GPU, whose memory holds batches of up to `fits` tokens."""

    def __init__(self, fits: int) -> None:
        def fault(items: Sequence[Item]) -> None:
            if sum(len(item.ids) for item in items) > fits:
                raise OutOfMemory("full")

        super().__init__(fault=fault)
        self.fits = fits

    @property
    def info(self) -> BackendInfo:
        return replace(super().info, device="gpu")


def test_on_a_gpu_the_budget_is_what_fits_beside_every_model(caplog: pytest.LogCaptureFixture) -> None:
    source = load_preprocessor(Path(demo_models()[0])).info, LoadOptions()
    backends = {"one": OnGpu(3000), "two": OnGpu(700)}

    limits = fitting_limits(BatchLimits(1000, 50), backends, dict.fromkeys(backends, source))

    assert limits == BatchLimits(512, 50)
    assert max(map(sum, backends["one"].batches)) == 1000
    assert "batches of more than 512 tokens do not fit" in caplog.text


def test_on_a_cpu_nothing_is_run_before_the_first_request() -> None:
    backend = FakeBackend()
    source = load_preprocessor(Path(demo_models()[0])).info, LoadOptions()

    assert fitting_limits(BatchLimits(1000, 50), {"m": backend}, {"m": source}) == BatchLimits(1000, 50)
    assert backend.batches == []


def test_an_engine_whose_device_is_lost_ends_without_destructors(tmp_path: Path) -> None:
    program = """
import atexit, multiprocessing
from server.launch.engine_process import DEVICE_LOST, _give_up_at_once
atexit.register(print, "a destructor ran")
receiver, sender = multiprocessing.Pipe(duplex=False)
if __name__ == "__main__":
    _give_up_at_once(sender, "the device was lost", DEVICE_LOST)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (3, "")


@dataclass(frozen=True, slots=True)
class Named:
    """As much of a served model as by_device() reads."""

    config: ModelConfig


def test_where_a_gpu_is_required_auto_is_one() -> None:
    models = [Named(ModelConfig(path="a")), Named(ModelConfig(path="b", device="cpu"))]

    groups = by_device(cast("list[ServedModel]", models), auto="cuda")

    assert {device: len(own) for device, own in groups.items()} == {"cuda:0": 1, "cpu": 1}
