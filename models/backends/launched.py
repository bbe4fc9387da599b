"""A batch between launch() and rows(): copies its rows to the host, and reruns items whose row holds NaN or Inf."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.devices import device_faults
from models.interface import DeviceLost, Item, NonFinite, OutOfMemory, Pending, Row


def launch_or_fail(launch: Callable[[], Pending], *, on_failure: Callable[[], None] | None = None) -> Pending:
    """Run `launch`. OutOfMemory and DeviceLost are raised later, by rows() of the result.

    Args:
        launch: enqueues one batch.
        on_failure: called in case of one of these errors.
    """
    try:
        with device_faults():
            return launch()
    except (OutOfMemory, DeviceLost) as error:
        if on_failure is not None:
            on_failure()
        return FailedBatch(error)


class Copy:
    """Matrices of read-outs, joined on the device and copied to the host as one buffer."""

    def __init__(self, read_outs: Sequence[Tensor]) -> None:
        flat = torch.cat([read_out.flatten() for read_out in read_outs])
        self._shapes = [read_out.shape for read_out in read_outs]
        self._event = torch.cuda.Event() if flat.is_cuda else None
        self._host = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=flat.is_cuda)
        self._host.copy_(flat, non_blocking=True)
        if self._event is not None:
            # On the stream of these tensors' device; the default would be the stream of the current device.
            self._event.record(torch.cuda.current_stream(flat.device))

    def done(self) -> bool:
        """Whether wait() would return without waiting."""
        return self._event is None or self._event.query()

    def wait(self) -> list[NDArray[np.float32]]:
        """Wait for the copy and return the matrices on the host, as views of one buffer."""
        if self._event is not None:
            self._event.synchronize()
        bounds = np.cumsum([shape.numel() for shape in self._shapes])[:-1]
        parts = np.split(self._host.numpy(), bounds)
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]


class Launched:
    """Implements Pending for a batch that runs on the device."""

    def __init__(
        self,
        items: Sequence[Item],
        groups: Sequence[Sequence[int]],
        read_outs: Sequence[Tensor],
        *,
        rerun: Callable[[Item], Tensor] | None = None,
        on_success: Callable[[], None] | None = None,
    ) -> None:
        """Start to copy a batch to the host.

        Args:
            items: the batch.
            groups: item numbers of each matrix of `read_outs`, row by row.
            read_outs: float32, on the device.
            rerun: computes one item alone with float32 activations, [1, n]; None if the batch did just that.
            on_success: called if all rows were finite without a rerun.
        """
        self._items, self._groups, self._copy = items, groups, Copy(read_outs)
        self._rerun, self._on_success = rerun, on_success

    def done(self) -> bool:
        """Whether the device has finished; rows() may still have to rerun items with NaN."""
        try:
            with device_faults():
                return self._copy.done()
        except OutOfMemory:
            return True  # rows() raises it again, where the caller can halve the batch

    def rows(self) -> list[Row]:
        with device_faults():
            matrices = self._copy.wait()
        rows = self._in_item_order(matrices)
        # Nearly always all are finite, which one call a matrix finds in a twentieth of the time.
        all_finite = all(np.isfinite(matrix).all() for matrix in matrices)
        non_finite = () if all_finite else non_finite_rows(rows)
        if not non_finite:
            if self._on_success is not None:
                self._on_success()
            return rows
        unrepaired = tuple(number for number in non_finite if not self._repair(rows, number))
        if unrepaired:
            raise NonFinite(unrepaired, rows)
        return rows

    def _in_item_order(self, matrices: Sequence[NDArray[np.float32]]) -> list[Row]:
        rows: dict[int, Row] = {}
        for numbers, matrix in zip(self._groups, matrices, strict=True):
            rows |= zip(numbers, matrix, strict=True)
        return [rows[number] for number in range(len(rows))]

    def _repair(self, rows: list[Row], number: int) -> bool:
        if (rerun := self._rerun) is None:
            return False
        try:
            rows[number] = row_of(lambda: rerun(self._items[number]))
        except OutOfMemory:
            return False  # the other rows of the batch are still good
        return not non_finite_rows([rows[number]])


def row_of(compute: Callable[[], Tensor]) -> Row:
    """The first row of what is computed, on the host.

    Raises: OutOfMemory, DeviceLost.
    """
    with device_faults():
        row: Row = Copy([compute()]).wait()[0][0]
    return row


class FailedBatch:
    """Implements Pending for a batch that the device could not run."""

    def __init__(self, error: OutOfMemory | DeviceLost) -> None:
        # A copy: the traceback of the error itself would keep the frames of the forward pass and their activations.
        self._error = type(error)(str(error))

    def done(self) -> bool:
        return True

    def rows(self) -> list[Row]:
        """Raises: OutOfMemory, DeviceLost: the error of the launch."""
        raise self._error


def non_finite_rows(rows: Sequence[Row]) -> tuple[int, ...]:
    """The numbers of the rows that hold NaN or Inf."""
    return tuple(number for number, row in enumerate(rows) if not np.isfinite(row).all())
