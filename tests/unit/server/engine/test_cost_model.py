"""How fast a device was lately."""

import pytest

from server.engine.cost_model import CostModel


def test_before_the_first_batch_no_rate_is_known() -> None:
    assert CostModel().tokens_per_s == 0


def test_the_first_batch_sets_it() -> None:
    speed = CostModel()

    speed.note(100, 2.0, 0.5, is_full=True)

    assert speed.tokens_per_s == pytest.approx(50)
    assert speed.host_s == 0.5


def test_later_ones_move_it() -> None:
    speed = CostModel()
    speed.note(100, 1.0, 0.0, is_full=True)

    speed.note(100, 2.0, 1.0, is_full=True)

    assert speed.seconds_per_token == pytest.approx(0.012)
    assert speed.host_s == pytest.approx(0.2)


def test_a_batch_without_measurable_time_is_no_division_by_zero() -> None:
    speed = CostModel()

    speed.note(1, 0.0, 0.0, is_full=True)

    assert speed.tokens_per_s > 0


def test_small_and_large_batches_are_told_apart() -> None:
    speed = CostModel()
    for _ in range(50):
        speed.note(100, 1.1, 0.0, is_full=True)
        speed.note(1, 0.11, 0.0, is_full=True)

    assert speed.seconds(1) == pytest.approx(0.11)
    assert speed.seconds(100) == pytest.approx(1.1)
    assert speed.seconds_per_token == pytest.approx(0.0122, rel=0.01)


def test_batches_of_one_size_tell_of_others_in_proportion() -> None:
    speed = CostModel()
    speed.note(100, 1.0, 0.0, is_full=True)

    assert speed.seconds(200) == pytest.approx(2.0)


def test_before_the_first_batch_any_has_an_estimate() -> None:
    assert CostModel().seconds(10) > 0


def test_lone_queries_say_nothing_of_how_fast_a_queue_is_worked_off() -> None:
    speed = CostModel()

    speed.note(16, 0.005, 0.0, is_full=False)
    unknown = speed.tokens_per_s
    speed.note(16384, 0.1, 0.0, is_full=True)
    speed.note(16, 0.005, 0.0, is_full=False)

    assert unknown == 0
    assert speed.tokens_per_s == pytest.approx(163_840)


def test_a_query_between_two_large_documents_hardly_counts_among_full_batches() -> None:
    speed = CostModel()
    for _ in range(20):
        speed.note(20_000, 0.4, 0.0, is_full=True)
        speed.note(10, 0.01, 0.0, is_full=True)

    assert speed.tokens_per_s == pytest.approx(48_800, rel=0.02)
