"""Two batches in flight keep a modelled GPU busy: a model from counted kernels, not run on a GPU."""

import pytest

from tests.support.simulated_cuda.pipeline import LOADS, Load, busy_share, kernels_now, product_share, run


@pytest.mark.parametrize(
    ("load", "kernels", "busy"),
    [
        (LOADS[0], None, 0.95),
        (LOADS[1], None, 0.5),
        (LOADS[0], 300, 0.95),
        (LOADS[1], 300, 0.65),
        (LOADS[2], 300, 0.95),
    ],
    ids=str,
)
def test_the_device_is_busy(load: Load, kernels: int | None, busy: float) -> None:
    assert busy_share(run(load, kernels or kernels_now())) >= busy


def test_with_as_few_kernels_as_are_aimed_at_short_texts_reach_their_share() -> None:
    assert product_share(run(LOADS[0], 300)) >= 0.59


def test_more_kernels_are_never_modelled_as_faster() -> None:
    shares = [product_share(run(LOADS[0], kernels)) for kernels in (200, 300, 1655, 3000)]

    assert shares == sorted(shares, reverse=True)
