"""Which requests of one HTTP process start, and in which order. It decides before a body is read, and knows no routes.

The event loop is bounded in two ways: requests in progress, and the time that it takes to come round. While several
callers send, requests start a few at a time and in turn, so that hundreds of one caller do not keep another waiting.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic

from server.engine.batching import CALLER_S
from server.errors import ApiError, TooManyRequests
from server.observability.metrics import Metrics

# A loop that takes this long to come round, each time for a while, has more to do than it can. A single pause may be
# the parsing of a large body.
MAX_LAG_S = 0.25
LAG_TICKS = 3
# What may be in progress even then: refusals take time too, and a flood of them must not keep the device idle.
LAGGING_REQUESTS = 64
# Starting a request takes about half a millisecond, and the loop must come round four times for each.
STARTS_IN_TURN = 2
LOG_EVERY_S = 10.0

log = logging.getLogger("hearth")


class RequestGate:
    """Belongs to the event loop's thread."""

    def __init__(self, metrics: Metrics, max_requests: int, clock: Callable[[], float] = monotonic) -> None:
        self._metrics = metrics
        self._max_requests = max_requests
        self._clock = clock
        # Requests that have not started, by caller; the caller whose turn it is comes first.
        self._waiting: dict[str, deque[Callable[[], None]]] = {}
        self.waiting = 0
        # When each caller of late was seen last.
        self._seen: dict[str, float] = {}
        self._started = 0
        self._is_turning = False
        self._lags: deque[float] = deque(maxlen=LAG_TICKS)
        self._ticked_at: float | None = None
        self._refused = 0
        self._logged_at = clock()

    def refusal(self, running: int) -> ApiError | None:
        """Why a request must not enter now, while `running` requests have started."""
        in_progress = running + self.waiting
        limit = min(self._max_requests, LAGGING_REQUESTS) if self.is_lagging else self._max_requests
        if in_progress < limit:
            return None
        self._refused += 1
        self._metrics.refused("too_many_requests")
        return TooManyRequests(in_progress)

    def enter(self, caller: str, start: Callable[[], None]) -> None:
        """Start a request now, or when it is its caller's turn."""
        self._seen[caller] = self._clock()
        if len(self._seen) < 2 and not self.waiting:
            start()
        elif self.waiting or self._started >= STARTS_IN_TURN:
            self._waiting.setdefault(caller, deque()).append(start)
            self.waiting += 1
        else:
            self._started += 1
            start()
            self._turn_later()

    def tick(self, every_s: float) -> None:
        """Called by the event loop, which wants to do so `every_s` seconds."""
        now = self._clock()
        if self._ticked_at is not None:
            self._lags.append(now - self._ticked_at - every_s)
        self._ticked_at = now
        self._seen = {caller: at for caller, at in self._seen.items() if now - at < CALLER_S}
        if self._refused and now - self._logged_at >= LOG_EVERY_S:
            log.warning("refused %d requests: more than %d were in progress", self._refused, self._max_requests)
            self._refused, self._logged_at = 0, now

    @property
    def is_lagging(self) -> bool:
        """Whether the event loop has been late for a while."""
        return len(self._lags) == LAG_TICKS and min(self._lags) > MAX_LAG_S

    def _turn_later(self) -> None:
        if not self._is_turning:
            self._is_turning = True
            # In the next round of the loop, after it has looked at every socket.
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_turning = False
        self._started = 0
        while self.waiting and self._started < STARTS_IN_TURN:
            caller = next(iter(self._waiting))
            own = self._waiting.pop(caller)
            start = own.popleft()
            if own:
                self._waiting[caller] = own
            self.waiting -= 1
            self._started += 1
            start()
        if self._started:
            self._turn_later()
