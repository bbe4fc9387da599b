"""The budget of a batch after the device ran out of memory."""

from server.engine.batching import GOOD_BATCHES, AdaptiveBatchLimits, BatchLimits


def test_half_of_what_did_not_fit_is_tried_next() -> None:
    budget = AdaptiveBatchLimits(BatchLimits(1000, 10))

    budget.shrink(600)

    assert budget.limits == BatchLimits(300, 10)


def test_a_small_batch_that_did_not_fit_leaves_at_least_a_token() -> None:
    budget = AdaptiveBatchLimits(BatchLimits(1000, 10))

    budget.shrink(1)

    assert budget.limits.max_tokens == 1


def test_good_batches_bring_the_configured_budget_back_and_no_more() -> None:
    budget = AdaptiveBatchLimits(BatchLimits(1000, 10))
    budget.shrink(1000)

    grown = [(budget.note_good(), budget.limits.max_tokens)[1] for _ in range(8 * GOOD_BATCHES)]

    assert grown[GOOD_BATCHES - 2 : GOOD_BATCHES] == [500, 551]
    assert grown[-1] == 1000
