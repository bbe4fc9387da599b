"""What passes between HTTP and engine comes out as it went in."""

import numpy as np
import pytest

from models import BackendInfo, Readout
from server.engine.messages import (
    CancelRequest,
    EngineFailure,
    EngineReport,
    EngineRequest,
    EngineResult,
    EngineState,
    QueueStats,
    Subscribe,
    Timings,
    decode,
    encode,
)


def _over(message: object) -> object:
    return decode([bytes(frame) for frame in encode(message)])


def test_work_comes_with_its_ids() -> None:
    ids = [np.array(one, dtype=np.int32) for one in ([1, 2, 3], [1, 2], [9])]
    sent = EngineRequest(7, "m", Readout("logits", (4, 5)), ids, np.array([0, 2, 0], dtype=np.int32))

    found = _over(sent)

    assert isinstance(found, EngineRequest)
    assert (found.id, found.model, found.readout) == (7, "m", Readout("logits", (4, 5)))
    assert [one.tolist() for one in found.ids] == [[1, 2, 3], [1, 2], [9]]
    assert found.shared.tolist() == [0, 2, 0]
    assert found.unique_tokens == 4


def test_rows_come_bit_for_bit() -> None:
    rows = np.random.default_rng(0).standard_normal((3, 5), dtype=np.float32)

    found = _over(EngineResult(7, rows[:, ::-1], Timings(0.1, 0.2, 3)))

    assert isinstance(found, EngineResult)
    assert np.array_equal(found.rows, rows[:, ::-1])
    assert found.timings == Timings(0.1, 0.2, 3)


@pytest.mark.parametrize(
    "message",
    [
        CancelRequest(3),
        Subscribe(),
        EngineFailure(3, "non_finite", 1),
        EngineFailure(4, "unavailable"),
        EngineReport(
            EngineState("failed", {"m": QueueStats(1, 2, 3.5)}, "why"),
            {"m": BackendInfo("fake", "r", "cpu", "float32", 7, True)},
        ),
    ],
)
def test_small_messages_come_whole(message: object) -> None:
    assert _over(message) == message
