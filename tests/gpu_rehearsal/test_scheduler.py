"""The scheduler on a simulated GPU: two batches in flight, every request answered with the CPU's vectors."""

from pathlib import Path

import numpy as np
import torch

from models import LoadOptions, Readout, load_backend, load_preprocessor
from server.engine.batching import BatchLimits
from server.engine.messages import EngineRequest, EngineResult
from server.engine.scheduler import Scheduler
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.one_at_a_time import Matrix, cosines

HEAD = np.arange(40, dtype=np.int32)
TEXTS = [np.concatenate([HEAD, np.arange(n, dtype=np.int32) + 50]) for n in (3, 9, 30, 60)]
# The second text continues all of the head of the first, and so on.
SHARED = np.array([0, *[len(HEAD)] * (len(TEXTS) - 1)], dtype=np.int32)
REQUESTS, BATCH_TOKENS = 6, 200
# Some seconds of the device's time, so that the first batch is not over before the second is due.
DELAY_CYCLES = 40_000_000_000


def answers(folder: Path, device: str) -> tuple[dict[int, Matrix], int]:
    """The rows of each request, and the most batches that were in flight at once."""
    options = LoadOptions(dtype="bfloat16", device=device, backend="packed")
    backend = load_backend(folder, load_preprocessor(folder).info, options)
    scheduler = Scheduler({"m": backend}, BatchLimits(BATCH_TOKENS, 64))
    for number in range(REQUESTS):
        texts = [ids + number for ids in TEXTS]
        scheduler.add((b"", number), EngineRequest(number, "m", Readout("vector"), texts, SHARED))
    if device == "cuda":
        torch.cuda._sleep(DELAY_CYCLES)
    rows: dict[int, Matrix] = {}
    in_flight = 0
    while scheduler.wait_s() is not None:
        for _, answer in scheduler.step():
            assert isinstance(answer, EngineResult)
            rows[answer.id] = np.stack(list(answer.rows))
        in_flight = max(in_flight, len(scheduler._in_flight))
    return rows, in_flight


def test_requests_over_several_batches_get_their_own_rows_with_two_in_flight(tmp_path: Path) -> None:
    folder = build(tmp_path, dtype=torch.bfloat16, head_dim=64)
    truth, _ = answers(folder, "cpu")

    rows, in_flight = answers(folder, "cuda")

    assert in_flight == 2
    assert rows.keys() == truth.keys() == set(range(REQUESTS))
    assert min(cosines(rows[number], truth[number]).min() for number in rows) >= 0.999
