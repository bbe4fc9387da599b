"""How many bytes of request bodies one HTTP process holds. No HTTP."""

from collections.abc import Callable
from time import monotonic
from typing import Self

from server.errors import TooManyBodies

# An eighth of the budget is for bodies of this size at most, so that a query finds room beside bulk jobs.
SMALL_BODY_BYTES = 64 * 1024
LARGE_BODIES_SHARE = 7 / 8
# A body that gains less than PROGRESS_BYTES in STALLED_S gives way when there is no room for another one.
PROGRESS_BYTES = 64 * 1024
STALLED_S = 2.0
# The newest body's weight in the average of how long large bodies are held, and the average before the first one.
NEWEST_BODY_WEIGHT = 0.2
FIRST_GUESS_S = 1.0


def _nothing() -> None:
    pass


class BodyBudget:
    """Belongs to the event loop's thread. An empty budget has room for one body of any size."""

    def __init__(self, max_bytes: int, on_freed: Callable[[], object] = _nothing) -> None:
        """`on_freed` is called when a large body is not held any longer."""
        self._max_bytes = max_bytes
        self._on_freed = on_freed
        self.held_bytes = 0
        # The bodies that are still arriving; the one whose last progress is the oldest is the first.
        self._arriving: dict[HeldBody, None] = {}
        self._held_s = FIRST_GUESS_S

    def hold(self) -> "HeldBody":
        """A place for one body, which give_back() ends."""
        body = HeldBody(self)
        self._arriving[body] = None
        return body

    def give_back(self, body: "HeldBody") -> None:
        """The body is not held any longer."""
        self._arriving.pop(body, None)
        if body.size > SMALL_BODY_BYTES:
            self._held_s += NEWEST_BODY_WEIGHT * (monotonic() - body.started_at - self._held_s)
            self._on_freed()
        self.held_bytes -= body.size
        body.size = 0

    def make_room(self, body: "HeldBody", more_bytes: int) -> None:
        """Let stalled bodies give way until `body` may grow.

        Raises: TooManyBodies.
        """
        while not self._has_room(body, more_bytes):
            stalled = next((other for other in self._arriving if other is not body), None)
            if stalled is None or monotonic() - stalled.progress_at < STALLED_S:
                raise self.refusal()
            del self._arriving[stalled]
            self.held_bytes -= stalled.size
            stalled.size = 0
            stalled.give_way()

    def refusal(self) -> TooManyBodies:
        """The error for a body without room."""
        return TooManyBodies(self.held_bytes, self._held_s)

    def note_progress(self, body: "HeldBody") -> None:
        """Make a body the last one to give way."""
        self._arriving.pop(body, None)
        self._arriving[body] = None

    def note_arrived(self, body: "HeldBody") -> None:
        """Let a whole body keep its place."""
        self._arriving.pop(body, None)

    def _has_room(self, body: "HeldBody", more_bytes: int) -> bool:
        if self.held_bytes == body.size:
            return True
        is_small = body.size + more_bytes <= SMALL_BODY_BYTES
        return self.held_bytes + more_bytes <= self._max_bytes * (1 if is_small else LARGE_BODIES_SHARE)


class HeldBody:
    """The bytes of one body in the budget."""

    __slots__ = ("_budget", "_marked_bytes", "gave_way", "on_give_way", "progress_at", "size", "started_at")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self._marked_bytes = 0
        self.size = 0
        self.started_at = self.progress_at = monotonic()
        self.gave_way = False
        # Called when the body gives way: whoever waits for the rest of it must stop.
        self.on_give_way: Callable[[], object] = _nothing

    def __enter__(self) -> Self:
        """Hold the body for the duration of a block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._budget.give_back(self)

    def expect(self, declared_bytes: int) -> None:
        """Refuse, before it is read, a body for which there is no room now. What is declared takes no room.

        Raises: TooManyBodies.
        """
        self._budget.make_room(self, declared_bytes)

    def grow(self, more_bytes: int) -> None:
        """Take room for bytes that have come.

        Raises: TooManyBodies.
        """
        self._budget.make_room(self, more_bytes)
        self.size += more_bytes
        self._budget.held_bytes += more_bytes
        if self.size - self._marked_bytes >= PROGRESS_BYTES:
            self._marked_bytes = self.size
            self.progress_at = monotonic()
            self._budget.note_progress(self)

    def arrived(self) -> None:
        """The whole body has come, and keeps its room."""
        self._budget.note_arrived(self)

    def give_way(self) -> None:
        """Called by the budget, which has taken the room already."""
        self.gave_way = True
        self.on_give_way()

    def refusal(self) -> TooManyBodies:
        """The error for a body that gave way."""
        return self._budget.refusal()
