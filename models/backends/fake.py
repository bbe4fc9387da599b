"""A backend without a model, for tests and overhead benchmarks: rows follow from the ids alone."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.interface import BackendInfo, Ids, Item, LoadOptions, ModelInfo, Row


@dataclass(slots=True)
class FakePending:
    """A batch whose rows are there once the gate is open."""

    make: Callable[[], list[Row]]
    gate: threading.Event

    def done(self) -> bool:
        """Whether the gate is open."""
        return self.gate.is_set()

    def rows(self) -> list[Row]:
        """The rows, or whatever the fault raises."""
        self.gate.wait()
        return self.make()


@dataclass
class FakeBackend:
    """Equal ids give equal rows, in any batch.

    `seconds_per_token` makes it as slow as a model; `gate` holds every batch while it is closed; `fault` is called
    with each batch's items and may raise. `batches` tells which lengths ran together.
    """

    width: int = 8
    head_rows: int = 32
    seconds_per_token: float = 0.0
    fault: Callable[[Sequence[Item]], None] = lambda items: None
    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def info(self) -> BackendInfo:
        """It says that it is none."""
        return BackendInfo("fake", "asked for by name", "cpu", "float32", 0)

    def launch(self, items: Sequence[Item]) -> FakePending:
        """Note the batch; its rows are made when they are read."""
        self.batches.append(tuple(len(item.ids) for item in items))
        return FakePending(lambda: self._rows(items), self.gate)

    def _rows(self, items: Sequence[Item]) -> list[Row]:
        time.sleep(self.seconds_per_token * sum(len(item.ids) for item in items))
        self.fault(items)
        return [self._row(item) for item in items]

    def _row(self, item: Item) -> Row:
        if item.readout.what == "vector":
            return _numbers(item.ids, self.width)
        logits = _numbers(item.ids, self.head_rows)
        if item.readout.what == "score":
            return logits[1:2] - logits[:1]
        return logits[list(item.readout.ids)] if item.readout.ids else logits


def load(path: str, info: ModelInfo, options: LoadOptions) -> FakeBackend:
    """A fake of the same width and head as the checkpoint at `path`."""
    return FakeBackend(info.width, info.head_rows)


def _numbers(ids: Ids, count: int) -> Row:
    return np.random.default_rng(ids.astype(np.uint32)).standard_normal(count, dtype=np.float32)
