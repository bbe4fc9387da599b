"""The recent speed of a device."""

import pytest

from server.engine.cost_model import CostModel


def test_before_the_first_batch_no_rate_is_known() -> None:
    assert CostModel().tokens_per_s == 0


def test_the_first_batch_sets_the_rate() -> None:
    cost_model = CostModel()

    cost_model.record(100, 2.0, 0.5, is_full=True)

    assert cost_model.tokens_per_s == pytest.approx(50)
    assert cost_model.host_s == 0.5


def test_later_batches_move_the_rate() -> None:
    cost_model = CostModel()
    cost_model.record(100, 1.0, 0.0, is_full=True)

    cost_model.record(100, 2.0, 1.0, is_full=True)

    assert cost_model.seconds_per_token == pytest.approx(0.012)
    assert cost_model.host_s == pytest.approx(0.2)


def test_a_batch_that_took_no_measurable_time_does_not_divide_by_zero() -> None:
    cost_model = CostModel()

    cost_model.record(1, 0.0, 0.0, is_full=True)

    assert cost_model.tokens_per_s > 0


def test_small_and_large_batches_are_told_apart() -> None:
    cost_model = CostModel()
    for _ in range(50):
        cost_model.record(100, 1.1, 0.0, is_full=True)
        cost_model.record(1, 0.11, 0.0, is_full=True)

    assert cost_model.seconds(1) == pytest.approx(0.11)
    assert cost_model.seconds(100) == pytest.approx(1.1)
    assert cost_model.seconds_per_token == pytest.approx(0.0122, rel=0.01)


def test_after_batches_of_one_size_the_estimate_is_proportional() -> None:
    cost_model = CostModel()
    cost_model.record(100, 1.0, 0.0, is_full=True)

    assert cost_model.seconds(200) == pytest.approx(2.0)


def test_before_the_first_batch_there_is_an_estimate() -> None:
    assert CostModel().seconds(10) > 0


def test_single_queries_do_not_change_the_speed_of_a_queue() -> None:
    cost_model = CostModel()

    cost_model.record(16, 0.005, 0.0, is_full=False)
    unknown = cost_model.tokens_per_s
    cost_model.record(16384, 0.1, 0.0, is_full=True)
    cost_model.record(16, 0.005, 0.0, is_full=False)

    assert unknown == 0
    assert cost_model.tokens_per_s == pytest.approx(163_840)


def test_a_query_between_two_large_documents_hardly_counts_among_full_batches() -> None:
    cost_model = CostModel()
    for _ in range(20):
        cost_model.record(20_000, 0.4, 0.0, is_full=True)
        cost_model.record(10, 0.01, 0.0, is_full=True)

    assert cost_model.tokens_per_s == pytest.approx(48_800, rel=0.02)


def test_while_callers_share_a_device_a_batch_takes_five_times_as_long_as_a_lone_query() -> None:
    cost_model = CostModel()
    before = cost_model.shared_tokens
    cost_model.record(10, 0.01, 0.0, is_full=False)
    for _ in range(100):
        tokens = int(min(cost_model.shared_tokens, 1000))
        cost_model.record(tokens, 0.005 + 0.0005 * tokens, 0.0, is_full=True)

    assert before == float("inf")
    assert tokens == pytest.approx(90, rel=0.05)


@pytest.mark.parametrize(("tokens", "is_full"), [(10, True), (1000, False)])
def test_a_batch_beside_others_or_of_a_long_text_is_no_lone_query(tokens: int, *, is_full: bool) -> None:
    cost_model = CostModel()

    cost_model.record(tokens, 0.01, 0.0, is_full=is_full)

    assert cost_model.shared_tokens == float("inf")
