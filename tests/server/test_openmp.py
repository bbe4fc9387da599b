"""How torch's idle threads wait."""

import os

import pytest

from server.openmp import SPINS, spin_briefly


def test_threads_spin_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    # As it is set here, so that it is put back.
    monkeypatch.setenv("GOMP_SPINCOUNT", "1")
    monkeypatch.delenv("GOMP_SPINCOUNT")

    spin_briefly()

    assert os.environ["GOMP_SPINCOUNT"] == SPINS


def test_who_says_how_they_wait_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)

    spin_briefly()

    assert "GOMP_SPINCOUNT" not in os.environ
