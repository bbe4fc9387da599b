"""A backend without a model, for tests and overhead benchmarks: it derives rows from the ids."""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from models.checkpoint.folder import Checkpoint
from models.interface import BackendInfo, DeviceLost, Ids, Item, LoadOptions, ModelInfo, NonFinite, OutOfMemory, Row


@dataclass(slots=True)
class FakePending:
    """A batch that finishes when the gate opens."""

    make: Callable[[], list[Row]]
    gate: threading.Event

    def done(self) -> bool:
        return self.gate.is_set()

    def rows(self) -> list[Row]:
        self.gate.wait()
        return self.make()


@dataclass
class FakeBackend:
    """Equal ids give equal rows in any batch.

    seconds_per_token: how long each token takes.
    fault: called with the items of each batch; it may raise.
    gate: no batch finishes while it is closed.
    shares_prefixes, splits_texts: what it says of itself in `info`.
    batches: the lengths of the items of each batch so far.
    shares: the shares of texts that were done after each batch that computed a part.
    """

    width: int = 8
    head_rows: int = 32
    seconds_per_token: float = 0.0
    fault: Callable[[Sequence[Item]], None] = lambda items: None
    gate: threading.Event = field(default_factory=threading.Event)
    shares_prefixes: bool = False
    splits_texts: bool = False
    dtype: str = "float32"
    batches: list[tuple[int, ...]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def info(self) -> BackendInfo:
        return BackendInfo("fake", "asked for by name", "cpu", self.dtype, 0, self.shares_prefixes, self.splits_texts)

    def launch(self, items: Sequence[Item], *, keep_prefix: bool = False) -> FakePending:
        """Record the batch. Its rows are computed when they are read."""
        self.batches.append(tuple(len(item.ids) for item in items))
        self.shares += [item.until for item in items if item.split]
        return FakePending(lambda: self._rows(items), self.gate)

    def _rows(self, items: Sequence[Item]) -> list[Row]:
        time.sleep(self.seconds_per_token * sum(map(_tokens, items)))
        self.fault(items)
        return [self.row(item) for item in items]

    def row(self, item: Item) -> Row:
        """The row of one item."""
        if item.until < 1:
            return np.empty(0, dtype=np.float32)
        if item.readout.what == "vector":
            return _numbers(item.ids, self.width)
        if item.readout.what == "score":
            no, yes = _numbers(item.ids, 2)
            return np.array([yes - no], dtype=np.float32)
        logits = _numbers(item.ids, self.head_rows)
        return logits[list(item.readout.ids)] if item.readout.ids else logits


class _FileGate(threading.Event):
    """A gate that another process closes with a file `hold`, which is renamed `held` when a batch waits at the gate."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._hold, self._held = folder / "hold", folder / "held"

    def is_set(self) -> bool:
        with suppress(FileNotFoundError):
            self._hold.rename(self._held)
        return not self._held.exists()

    def wait(self, timeout: float | None = None) -> bool:
        while not self.is_set():
            time.sleep(0.001)
        return True


def load(checkpoint: Checkpoint, info: ModelInfo, options: LoadOptions) -> FakeBackend:
    """A fake with the width and the head of the checkpoint.

    A file fake.json in the folder of the checkpoint makes it slow or faulty. `seconds_per_token`, `splits_texts`: as in
    FakeBackend. `memory_tokens`: a larger batch raises OutOfMemory. `non_finite`, `broken`, `lost`: token ids whose
    row is non-finite, whose batch fails, and whose batch loses the device. A file `hold` there stops the next batch and
    is renamed `held`; removing it releases the batch.
    """
    backend = FakeBackend(info.width, info.head_rows)
    file = checkpoint.path / "fake.json"
    if file.is_file():
        settings = json.loads(file.read_text("utf-8"))
        backend.seconds_per_token = settings.get("seconds_per_token", 0.0)
        backend.splits_texts = settings.get("splits_texts", False)
        backend.fault = partial(_raise_fault, backend, settings)
        backend.gate = _FileGate(file.parent)
    return backend


def _raise_fault(backend: FakeBackend, settings: Mapping[str, Any], items: Sequence[Item]) -> None:
    if sum(len(item.ids) for item in items) > settings.get("memory_tokens", float("inf")):
        raise OutOfMemory
    if any(settings.get("lost") in item.ids for item in items):
        raise DeviceLost("it fell off the bus")
    if any(settings.get("broken") in item.ids for item in items):
        raise RuntimeError("a kernel failed")
    bad = tuple(place for place, item in enumerate(items) if settings.get("non_finite") in item.ids)
    if bad:
        raise NonFinite(bad, [backend.row(item) for item in items])


def _tokens(item: Item) -> float:
    """What a batch computes of an item."""
    if item.split is None:
        return len(item.ids)
    done = item.split.state if isinstance(item.split.state, float) else 0.0
    item.split.state = item.until
    return len(item.ids) * (item.until - done)


def _numbers(ids: Ids, count: int) -> Row:
    return np.random.default_rng(ids.astype(np.uint32)).standard_normal(count, dtype=np.float32)
