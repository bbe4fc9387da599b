"""Footprint measures anonymous memory, but not mapped files."""

import sys

import numpy as np
import pytest

from models.memory import Footprint, gibibytes, rss_bytes

MEGABYTE = 2**20
linux = pytest.mark.skipif(sys.platform != "linux", reason="RssAnon is told by Linux")


@linux
def test_what_was_held_for_a_moment_is_seen() -> None:
    with Footprint() as footprint:
        held = np.ones(100 * MEGABYTE, dtype=np.uint8)
        footprint._ended.wait(0.1)
        del held

    assert footprint.peak_bytes is not None
    assert 90 * MEGABYTE < footprint.peak_bytes < 150 * MEGABYTE


@linux
def test_where_nothing_was_held_nothing_is_seen() -> None:
    with Footprint() as footprint:
        pass

    assert footprint.peak_bytes is not None
    assert footprint.peak_bytes < 10 * MEGABYTE


def test_where_the_system_does_not_tell_there_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.memory._anonymous_bytes", lambda: None)

    with Footprint() as footprint:
        pass

    assert footprint.peak_bytes is None


def test_sizes_are_written_for_people() -> None:
    assert gibibytes(3 * 2**29) == "1.50 GiB"
    assert gibibytes(5 * MEGABYTE) == "5.0 MiB"
    assert rss_bytes() > 10 * MEGABYTE
