"""The messages between an HTTP process and an engine, and their frames: a JSON header, then arrays as raw memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from models import BackendInfo, Ids, Matrix, Readout


@dataclass(frozen=True, slots=True)
class BatchStats:
    """Figures of a batch for /metrics. `fill` is its share of the token limit."""

    model: str
    items: int
    tokens: int
    fill: float
    host_s: float
    device_s: float


Phase = Literal["loading", "ready", "draining", "failed"]
Reason = Literal["non_finite", "out_of_memory", "unavailable", "draining", "engine_died", "internal"]
Frames: TypeAlias = list[bytes | memoryview]


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """Inputs for one model with one read-out, answered together.

    `ids` are in the order in which they run. The first `shared[i]` tokens of input i are those of input i - 1.
    """

    id: int
    model: str
    readout: Readout
    ids: Sequence[Ids]
    shared: NDArray[np.int32]
    # It was in flight when an engine died: it runs in batches of its own, to learn whether it is to blame.
    alone: bool = False
    # Who sent it: callers share the device.
    caller: str = ""
    # When it was sent, by the clock of time.perf_counter(), which all processes of a machine share. An engine on a CPU
    # receives nothing while it computes a batch, and the request waits meanwhile. None: when it is received.
    sent_at: float | None = None
    # The tokens to compute when all inputs run in one batch: each shared prefix counts once.
    unique_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "unique_tokens", sum(map(len, self.ids)) - int(self.shared.sum()))

    def computed_tokens(self, *, shares_prefixes: bool) -> int:
        """The tokens that a backend computes for all inputs together."""
        return self.unique_tokens if shares_prefixes else sum(map(len, self.ids))


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The answer to this request is no longer needed."""

    id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The first message of an HTTP process: it asks for reports."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a request in the engine went, and in how many batches it ran."""

    queue_s: float
    forward_s: float
    batches: int


@dataclass(frozen=True, slots=True)
class EngineResult:
    """The rows of a request, [inputs, width] float32, in the order of its ids."""

    id: int
    rows: Matrix
    timings: Timings


@dataclass(frozen=True, slots=True)
class EngineFailure:
    """Why a request has no rows. `index` is the input that caused it, if a single input did."""

    id: int
    reason: Reason
    index: int | None = None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What waits for one model, and the recent speed of its full batches; 0 before the first of them."""

    items: int = 0
    tokens: int = 0
    tokens_per_s: float = 0.0
    requests: int = 0

    def plus(self, items: int, tokens: int, requests: int) -> "QueueStats":
        """The same queue with more in it."""
        return QueueStats(self.items + items, self.tokens + tokens, self.tokens_per_s, self.requests + requests)

    @property
    def seconds(self) -> float:
        """The time to drain the queue; 0 while the speed is unknown."""
        return self.tokens / self.tokens_per_s if self.tokens_per_s else 0.0


@dataclass(frozen=True, slots=True)
class EngineState:
    """The phase of an engine and its queues by model; `reason` explains a phase other than `ready`."""

    phase: Phase
    queues: Mapping[str, QueueStats] = field(default_factory=dict)
    reason: str = ""

    def queue(self, model: str) -> QueueStats:
        """One model's queue; empty if nothing is known of it."""
        return self.queues.get(model, QueueStats())

    @property
    def waiting_items(self) -> int:
        """Over all models."""
        return sum(queue.items for queue in self.queues.values())

    @property
    def waiting_tokens(self) -> int:
        """Over all models."""
        return sum(queue.tokens for queue in self.queues.values())


@dataclass(frozen=True, slots=True)
class EngineReport:
    """The state of an engine without the requests of the client that receives it, and how each model is run.

    `progress` has a pair for each request of that client which has begun: its id and the tokens that were launched.
    """

    state: EngineState
    info: dict[str, BackendInfo]
    progress: tuple[tuple[int, int], ...] = ()


Message: TypeAlias = EngineRequest | CancelRequest | Subscribe | EngineResult | EngineFailure | EngineReport


def encode(message: Message) -> Frames:
    """The frames of a message. Leave its arrays unchanged until they are sent."""
    match message:
        case EngineRequest():
            header = {
                "id": message.id,
                "model": message.model,
                "readout": message.readout,
                "alone": message.alone,
                "caller": message.caller,
                "sent_at": message.sent_at,
            }
            lengths = np.array([len(ids) for ids in message.ids], dtype=np.int32)
            return [b"request", _json(header), lengths.data, message.shared.data, np.concatenate(message.ids).data]
        case EngineResult():
            header = {"id": message.id, "shape": message.rows.shape, "timings": message.timings}
            return [b"result", _json(header), np.ascontiguousarray(message.rows).data]
        case EngineReport():
            return [b"report", _json(message)]
        case EngineFailure():
            return [b"failure", _json(message)]
        case CancelRequest():
            return [b"cancel", _json(message)]
        case Subscribe():
            return [b"subscribe", _json(message)]


def decode(frames: Sequence[Any]) -> Message:
    """The message of some frames. Its arrays are read-only views of them."""
    kind, header = bytes(frames[0]), orjson.loads(frames[1])
    match kind:
        case b"request":
            return _request(header, frames[2:])
        case b"result":
            rows = np.frombuffer(frames[2], dtype=np.float32).reshape(header["shape"])
            return EngineResult(header["id"], rows, Timings(**header["timings"]))
        case b"report":
            info = {model: BackendInfo(**fields) for model, fields in header["info"].items()}
            return EngineReport(_state(header["state"]), info, tuple(map(tuple, header["progress"])))
        case b"failure":
            return EngineFailure(**header)
        case b"cancel":
            return CancelRequest(**header)
        case b"subscribe":
            return Subscribe()
    raise AssertionError(f"unknown kind of message {kind!r}: this is a bug")


def _request(header: dict[str, Any], arrays: Sequence[Any]) -> EngineRequest:
    lengths, shared, tokens = (np.frombuffer(array, dtype=np.int32) for array in arrays)
    ids = [tokens] if len(lengths) == 1 else np.split(tokens, np.cumsum(lengths)[:-1])
    readout = Readout(header["readout"]["what"], tuple(header["readout"]["ids"]))
    more = {name: header[name] for name in ("alone", "caller", "sent_at")}
    return EngineRequest(header["id"], header["model"], readout, ids, shared, **more)


def _state(fields: dict[str, Any]) -> EngineState:
    queues = {model: QueueStats(**counts) for model, counts in fields.pop("queues").items()}
    return EngineState(queues=queues, **fields)


def _json(value: Any) -> bytes:
    return orjson.dumps(value)
