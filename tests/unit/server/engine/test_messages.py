"""A message is decoded as it was encoded."""

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


def _round_trip(message: object) -> object:
    return decode([bytes(frame) for frame in encode(message)])


def test_a_request_keeps_its_ids() -> None:
    ids = [np.array(tokens, dtype=np.int32) for tokens in ([1, 2, 3], [1, 2], [9])]
    shared = np.array([0, 2, 0], dtype=np.int32)
    sent = EngineRequest(7, "m", Readout("logits", (4, 5)), ids, shared, caller="c", sent_at=1.5)

    decoded = _round_trip(sent)

    assert isinstance(decoded, EngineRequest)
    assert (decoded.id, decoded.model, decoded.readout, decoded.caller) == (7, "m", Readout("logits", (4, 5)), "c")
    assert [ids.tolist() for ids in decoded.ids] == [[1, 2, 3], [1, 2], [9]]
    assert decoded.shared.tolist() == [0, 2, 0]
    assert decoded.unique_tokens == 4
    assert decoded.sent_at == 1.5


def test_rows_keep_every_bit() -> None:
    rows = np.random.default_rng(0).standard_normal((3, 5), dtype=np.float32)

    decoded = _round_trip(EngineResult(7, rows[:, ::-1], Timings(0.1, 0.2, 3)))

    assert isinstance(decoded, EngineResult)
    assert np.array_equal(decoded.rows, rows[:, ::-1])
    assert decoded.timings == Timings(0.1, 0.2, 3)


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
            ((5, 100), (6, 70)),
        ),
    ],
)
def test_a_message_without_arrays_is_unchanged(message: object) -> None:
    assert _round_trip(message) == message
