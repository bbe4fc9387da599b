"""The limits of a batch after the device ran out of memory."""

from server.engine.batching import GOOD_BATCHES, AdaptiveBatchLimits, BatchLimits


def test_after_a_batch_that_did_not_fit_the_limit_is_half_of_it() -> None:
    batch_limits = AdaptiveBatchLimits(BatchLimits(1000, 10))

    batch_limits.shrink(600)

    assert batch_limits.limits == BatchLimits(300, 10)


def test_the_limit_is_at_least_one_token() -> None:
    batch_limits = AdaptiveBatchLimits(BatchLimits(1000, 10))

    batch_limits.shrink(1)

    assert batch_limits.limits.max_tokens == 1


def test_successful_batches_bring_the_configured_limits_back() -> None:
    batch_limits = AdaptiveBatchLimits(BatchLimits(1000, 10))
    batch_limits.shrink(1000)

    grown = [(batch_limits.record_success(), batch_limits.limits.max_tokens)[1] for _ in range(8 * GOOD_BATCHES)]

    assert grown[GOOD_BATCHES - 2 : GOOD_BATCHES] == [500, 551]
    assert grown[-1] == 1000
