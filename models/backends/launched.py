"""A batch between launch() and rows(): copies its read-outs to the host, and computes rows with NaN or Inf again."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.devices import device_faults
from models.interface import DeviceLost, Item, NonFinite, OutOfMemory, Pending, Row


def launch_or_fail(launch: Callable[[], Pending], *, on_failure: Callable[[], None] | None = None) -> Pending:
    """Run `launch`; a batch that does not fit, or a lost device, is answered by the rows() of what is returned."""
    try:
        with device_faults():
            return launch()
    except (OutOfMemory, DeviceLost) as error:
        if on_failure is not None:
            on_failure()
        return FailedBatch(error)


class Copy:
    """Matrices of read-outs, gathered on the device and sent to the host as one buffer."""

    def __init__(self, read_outs: Sequence[Tensor]) -> None:
        flat = torch.cat([read_out.flatten() for read_out in read_outs])
        self._shapes = [read_out.shape for read_out in read_outs]
        self._event = torch.cuda.Event() if flat.is_cuda else None
        self._host = torch.empty(flat.shape, dtype=flat.dtype, pin_memory=flat.is_cuda)
        self._host.copy_(flat, non_blocking=True)
        if self._event is not None:
            # On the stream of these tensors' device: the default is that of the current device.
            self._event.record(torch.cuda.current_stream(flat.device))

    def done(self) -> bool:
        """Whether wait() would return at once."""
        return self._event is None or self._event.query()

    def wait(self) -> list[NDArray[np.float32]]:
        """The matrices, on the host; views of one buffer."""
        if self._event is not None:
            self._event.synchronize()
        bounds = np.cumsum([shape.numel() for shape in self._shapes])[:-1]
        parts = np.split(self._host.numpy(), bounds)
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]


class Launched:
    """Pending, for a batch that runs on the device."""

    def __init__(
        self,
        items: Sequence[Item],
        groups: Sequence[Sequence[int]],
        read_outs: Sequence[Tensor],
        *,
        again: Callable[[Item], Tensor] | None = None,
        when_good: Callable[[], None] | None = None,
    ) -> None:
        """Start to copy a batch to the host.

        Args:
            items: the batch.
            groups: item numbers of each matrix of `read_outs`, row by row.
            read_outs: float32, on the device.
            again: computes one item alone with float32 activations, [1, n]; None if that is what was done.
            when_good: called when all rows were finite at once.
        """
        self._items, self._groups, self._copy = items, groups, Copy(read_outs)
        self._again, self._when_good = again, when_good

    def done(self) -> bool:
        """Whether the device has finished; a row with NaN may still have to be computed again."""
        try:
            with device_faults():
                return self._copy.done()
        except OutOfMemory:
            return True  # rows() raises it again, where the caller can halve the batch

    def rows(self) -> list[Row]:
        """See models.interface.Pending."""
        with device_faults():
            rows = self._in_item_order(self._copy.wait())
        bad = bad_rows(rows)
        if not bad:
            if self._when_good is not None:
                self._when_good()
            return rows
        still_bad = tuple(number for number in bad if not self._repair(rows, number))
        if still_bad:
            raise NonFinite(still_bad, rows)
        return rows

    def _in_item_order(self, matrices: Sequence[NDArray[np.float32]]) -> list[Row]:
        rows: dict[int, Row] = {}
        for numbers, matrix in zip(self._groups, matrices, strict=True):
            rows |= zip(numbers, matrix, strict=True)
        return [rows[number] for number in range(len(rows))]

    def _repair(self, rows: list[Row], number: int) -> bool:
        if self._again is None:
            return False
        try:
            with device_faults():
                rows[number] = Copy([self._again(self._items[number])]).wait()[0][0]
        except OutOfMemory:
            return False  # the rest of the batch has good rows
        return not bad_rows([rows[number]])


class FailedBatch:
    """Pending, for a batch that the device could not run."""

    def __init__(self, error: OutOfMemory | DeviceLost) -> None:
        # Not the error itself: its traceback holds every frame of the forward pass, and they hold its activations.
        self._error = type(error)(str(error))

    def done(self) -> bool:
        """Always true: there is nothing to wait for."""
        return True

    def rows(self) -> list[Row]:
        """Raises: OutOfMemory, DeviceLost: the error of the launch."""
        raise self._error


def bad_rows(rows: Sequence[Row]) -> tuple[int, ...]:
    """Numbers of the rows that hold NaN or Inf."""
    return tuple(number for number, row in enumerate(rows) if not np.isfinite(row).all())
