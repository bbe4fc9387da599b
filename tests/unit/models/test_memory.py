"""The C library returns memory during a load, and has its largest thresholds after it."""

import ctypes
from types import SimpleNamespace

import pytest

from models.memory import (
    LARGEST_MAPPED_BYTES,
    LARGEST_TRIM_BYTES,
    MMAP_THRESHOLD,
    SMALLEST_MAPPED_BYTES,
    TRIM_THRESHOLD,
    freeing_at_once,
)


def test_thresholds_are_set_and_set_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda *call: calls.append(call))
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: library)

    with pytest.raises(ZeroDivisionError), freeing_at_once():
        _ = 1 / 0

    assert calls == [
        (MMAP_THRESHOLD, SMALLEST_MAPPED_BYTES),
        (MMAP_THRESHOLD, LARGEST_MAPPED_BYTES),
        (TRIM_THRESHOLD, LARGEST_TRIM_BYTES),
    ]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())

    with freeing_at_once() as value:
        assert value is None
