"""What passes between the HTTP side and the engine: ids in, float32 rows and timings out. Plain values only."""

from dataclasses import dataclass
from typing import Literal

from models import Item, Row

Phase = Literal["loading", "ready", "draining", "failed"]


@dataclass(frozen=True, slots=True)
class Work:
    """One admitted request: items of one model, answered together."""

    id: int
    model: str
    items: tuple[Item, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all items."""
        return sum(len(item.ids) for item in self.items)


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a request's time in the engine went, seconds."""

    queue_s: float
    forward_s: float
    batches: int


@dataclass(frozen=True, slots=True)
class Done:
    """The rows of a Work, in item order, all finite."""

    rows: tuple[Row, ...]
    timings: Timings


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a Work has no rows. `index` is the guilty item, when one is."""

    reason: Literal["non_finite", "out_of_memory", "unavailable", "internal"]
    index: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """How the engine is."""

    phase: Phase
    waiting_items: int
    waiting_tokens: int
    tokens_per_s: float
    reason: str = ""
