"""How torch's idle threads wait."""

import os
from pathlib import Path

import pytest

from server.launch import openmp
from server.launch.openmp import SPINS, set_threads, set_waiting, weight_bytes


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"):
        # Set first, so that what the test sets is taken back.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    return tmp_path


def test_beside_a_small_model_they_sleep_at_once(folder: Path) -> None:
    set_waiting([folder])

    assert (os.environ["OMP_WAIT_POLICY"], os.environ.get("GOMP_SPINCOUNT")) == ("PASSIVE", None)


def test_beside_a_large_one_they_spin_a_moment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmp, "LARGE_BYTES", 100)

    set_waiting([Path("/nowhere"), folder])

    assert (os.environ.get("OMP_WAIT_POLICY"), os.environ["GOMP_SPINCOUNT"]) == (None, SPINS)


def test_who_says_how_they_wait_is_obeyed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")

    set_waiting([folder])

    assert (os.environ["OMP_WAIT_POLICY"], os.environ.get("GOMP_SPINCOUNT")) == ("ACTIVE", None)


def test_weights_are_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"x" * 300)
    assert weight_bytes(tmp_path) == 300

    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    assert weight_bytes(tmp_path) == 100


@pytest.mark.parametrize(("quota", "threads"), [(2, "2"), (64, None)])
def test_a_quota_bounds_the_threads(monkeypatch: pytest.MonkeyPatch, quota: int, threads: str | None) -> None:
    monkeypatch.setattr(openmp, "available_cores", lambda: quota)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)

    set_threads()

    assert os.environ.get("OMP_NUM_THREADS") == threads


def test_who_says_how_many_threads_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmp, "available_cores", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    set_threads()

    assert os.environ["OMP_NUM_THREADS"] == "3"
