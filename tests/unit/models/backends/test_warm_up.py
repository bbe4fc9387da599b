"""Batches of every size run before a model serves, and the largest that fits is found."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest

from models.backends.fake import FakeBackend
from models.backends.warm_up import warm_up
from models.interface import DeviceLost, Item, ModelError, NonFinite, OutOfMemory
from tests.unit.models.backends.test_selfcheck import INFO


def _tokens(items: Sequence[Item]) -> int:
    return sum(len(item.ids) for item in items)


def _failing(above: int, error: Exception) -> FakeBackend:
    def fault(items: Sequence[Item]) -> None:
        if _tokens(items) > above:
            raise error

    return FakeBackend(fault=fault)


def test_every_size_up_to_the_budget_runs_twice() -> None:
    backend = FakeBackend()

    costs = warm_up(backend, replace(INFO, kind="embedder"), 100)

    assert [cost.tokens for cost in costs] == [16, 32, 64, 100]
    assert [sum(batch) for batch in backend.batches] == [16, 16, 32, 32, 64, 64, 100, 100]
    # Texts are no longer than the model takes.
    assert backend.batches[-1] == (64, 36)
    assert all(cost.seconds > 0 and cost.peak_bytes is None for cost in costs)


def test_a_budget_below_the_smallest_size_is_run_alone() -> None:
    assert [cost.tokens for cost in warm_up(FakeBackend(), INFO, 5)] == [5]


def test_it_ends_at_the_first_size_that_does_not_fit() -> None:
    assert [cost.tokens for cost in warm_up(_failing(50, OutOfMemory("full")), INFO, 100)] == [16, 32]


def test_a_model_that_leaves_no_memory_is_refused() -> None:
    with pytest.raises(ModelError, match="leaves no memory for a batch of 16 tokens: full"):
        warm_up(_failing(0, OutOfMemory("full")), INFO, 100)


def test_a_lost_device_is_not_taken_for_full_memory() -> None:
    with pytest.raises(DeviceLost):
        warm_up(_failing(0, DeviceLost("gone")), INFO, 100)


def test_random_ids_that_give_nan_end_no_start(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "hearth.models"):
        costs = warm_up(_failing(0, NonFinite((0,), [])), INFO, 16)

    assert [cost.tokens for cost in costs] == [16]
    assert "NaN or Inf" in caplog.text
