"""The index arrays of a batch reach the device by one copy, whatever their dtypes, shapes and sizes are."""

import numpy as np
import pytest
import torch

from models.devices import STAGING_BYTES, Staging
from tests.support.simulated_cuda.tensor import GPU

ARRAYS = (
    np.arange(5, dtype=np.int32),
    np.arange(6, dtype=np.int64).reshape(2, 3),
    np.zeros(0, dtype=np.int64),
    np.array([7], dtype=np.int32),
)


def test_arrays_of_a_batch_are_copied_at_once() -> None:
    with GPU.counting() as counts:
        staging = Staging(torch.device("cuda"))
        tensors = [staging.add(array) for array in ARRAYS]
        staging.send()

    assert (counts.copies_in, counts.pinned_buffers, counts.waits) == (1, 1, [])
    for tensor, array in zip(tensors, ARRAYS, strict=True):
        assert np.array_equal(tensor.cpu().numpy(), array)
        assert tensor.cpu().numpy().dtype == array.dtype


@pytest.mark.parametrize(
    ("sizes", "copies"), [((STAGING_BYTES // 8 - 2, 8, 3), 2), ((8, STAGING_BYTES // 8 + 1, 3), 3)]
)
def test_arrays_that_do_not_fit_take_further_buffers(sizes: tuple[int, ...], copies: int) -> None:
    arrays = [np.arange(size) for size in sizes]
    staging = Staging(torch.device("cuda"))
    tensors = [staging.add(array) for array in arrays]

    with GPU.counting() as counts:
        staging.send()

    assert counts.copies_in == copies
    assert all(np.array_equal(tensor.cpu().numpy(), array) for tensor, array in zip(tensors, arrays, strict=True))
