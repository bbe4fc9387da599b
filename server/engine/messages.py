"""What passes between HTTP and engine, and its frames: a small JSON header, then arrays as they lie in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from models import BackendInfo, Ids, Matrix, Readout


@dataclass(frozen=True, slots=True)
class BatchNote:
    """What operators hear of a batch: how full it was and where its time went."""

    model: str
    items: int
    tokens: int
    fill: float
    host_s: float
    device_s: float


Phase = Literal["loading", "ready", "draining", "failed"]
Reason = Literal["non_finite", "out_of_memory", "unavailable", "internal"]
Frames: TypeAlias = list[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Work:
    """One admitted request: inputs of one model with one read-out, answered together.

    `ids` are in the order in which they run, and `shared[i]` of them begin input i as they begin input i - 1.
    """

    id: int
    model: str
    readout: Readout
    ids: Sequence[Ids]
    shared: NDArray[np.int32]

    @property
    def unique_tokens(self) -> int:
        """Tokens that are computed when all inputs run in one batch."""
        return sum(map(len, self.ids)) - int(self.shared.sum())


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this Work any more."""

    id: int


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of an HTTP process: it wants to hear how the engine is."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a request's time in the engine went, seconds."""

    queue_s: float
    forward_s: float
    batches: int


@dataclass(frozen=True, slots=True)
class Done:
    """The rows of a Work, [n, d] float32, in its order, all finite."""

    id: int
    rows: Matrix
    timings: Timings


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a Work has no rows. `index` is the guilty input, when one is."""

    id: int
    reason: Reason
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for one model, and how fast its full batches were lately; 0 before the first of them."""

    items: int = 0
    tokens: int = 0
    tokens_per_s: float = 0.0

    @property
    def seconds(self) -> float:
        """How long what waits takes; 0 as long as no speed is known."""
        return self.tokens / self.tokens_per_s if self.tokens_per_s else 0.0


@dataclass(frozen=True, slots=True)
class State:
    """How the engine is, with a queue for each model; `reason` says why it failed."""

    phase: Phase
    queues: Mapping[str, Queue] = field(default_factory=dict)
    reason: str = ""

    def queue(self, model: str) -> Queue:
        """One model's queue; empty when nothing was ever heard of it."""
        return self.queues.get(model, Queue())

    @property
    def waiting_items(self) -> int:
        """Of all models."""
        return sum(queue.items for queue in self.queues.values())

    @property
    def waiting_tokens(self) -> int:
        """Of all models."""
        return sum(queue.tokens for queue in self.queues.values())


@dataclass(frozen=True, slots=True)
class Report:
    """State as the engine process tells it, with how each model is run."""

    state: State
    info: dict[str, BackendInfo]


Message: TypeAlias = Work | Cancel | Hello | Done | Failed | Report


def encode(message: Message) -> Frames:
    """A message as frames; arrays are not copied."""
    match message:
        case Work():
            header = {"id": message.id, "model": message.model, "readout": message.readout}
            lengths = np.array([len(ids) for ids in message.ids], dtype=np.int32)
            return [b"work", _json(header), lengths.data, message.shared.data, np.concatenate(message.ids).data]
        case Done():
            header = {"id": message.id, "shape": message.rows.shape, "timings": message.timings}
            return [b"done", _json(header), np.ascontiguousarray(message.rows).data]
        case Report():
            return [b"report", _json(message)]
        case _:
            return [type(message).__name__.lower().encode(), _json(message)]


def decode(frames: Sequence[Any]) -> Message:
    """A message from its frames; its arrays are views of them, not to be written to."""
    kind, header = bytes(frames[0]), orjson.loads(frames[1])
    match kind:
        case b"work":
            return _work(header, frames[2:])
        case b"done":
            rows = np.frombuffer(frames[2], dtype=np.float32).reshape(header["shape"])
            return Done(header["id"], rows, Timings(**header["timings"]))
        case b"report":
            info = {model: BackendInfo(**fields) for model, fields in header["info"].items()}
            return Report(_state(header["state"]), info)
        case b"failed":
            return Failed(**header)
        case b"cancel":
            return Cancel(**header)
        case b"hello":
            return Hello()
    raise AssertionError(f"a message of no known kind: {kind!r}")


def _work(header: dict[str, Any], arrays: Sequence[Any]) -> Work:
    lengths, shared, tokens = (np.frombuffer(array, dtype=np.int32) for array in arrays)
    ids = [tokens] if len(lengths) == 1 else np.split(tokens, np.cumsum(lengths)[:-1])
    readout = Readout(header["readout"]["what"], tuple(header["readout"]["ids"]))
    return Work(header["id"], header["model"], readout, ids, shared)


def _state(fields: dict[str, Any]) -> State:
    queues = {model: Queue(**counts) for model, counts in fields.pop("queues").items()}
    return State(queues=queues, **fields)


def _json(value: Any) -> bytes:
    return orjson.dumps(value)
