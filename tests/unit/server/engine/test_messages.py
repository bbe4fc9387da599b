"""What passes between HTTP and engine comes out as it went in."""

import numpy as np
import pytest

from models import BackendInfo, Readout
from server.engine.messages import Cancel, Done, Failed, Hello, Queue, Report, State, Timings, Work, decode, encode


def _over(message: object) -> object:
    return decode([bytes(frame) for frame in encode(message)])


def test_work_comes_with_its_ids() -> None:
    ids = [np.array(one, dtype=np.int32) for one in ([1, 2, 3], [1, 2], [9])]
    sent = Work(7, "m", Readout("logits", (4, 5)), ids, np.array([0, 2, 0], dtype=np.int32))

    found = _over(sent)

    assert isinstance(found, Work)
    assert (found.id, found.model, found.readout) == (7, "m", Readout("logits", (4, 5)))
    assert [one.tolist() for one in found.ids] == [[1, 2, 3], [1, 2], [9]]
    assert found.shared.tolist() == [0, 2, 0]
    assert found.unique_tokens == 4


def test_rows_come_bit_for_bit() -> None:
    rows = np.random.default_rng(0).standard_normal((3, 5), dtype=np.float32)

    found = _over(Done(7, rows[:, ::-1], Timings(0.1, 0.2, 3)))

    assert isinstance(found, Done)
    assert np.array_equal(found.rows, rows[:, ::-1])
    assert found.timings == Timings(0.1, 0.2, 3)


@pytest.mark.parametrize(
    "message",
    [
        Cancel(3),
        Hello(),
        Failed(3, "non_finite", 1),
        Failed(4, "unavailable"),
        Report(
            State("failed", {"m": Queue(1, 2, 3.5)}, "why"), {"m": BackendInfo("fake", "r", "cpu", "float32", 7, True)}
        ),
    ],
)
def test_small_messages_come_whole(message: object) -> None:
    assert _over(message) == message
