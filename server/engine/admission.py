"""Whether a request may enter the queue: all of it or none, refused before it costs anything."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from server.config import Config
from server.engine.messages import Phase, QueueStats
from server.errors import Draining, ModelLoading, QueueFull, TooLate, TooManyWaiting, Unavailable, WaitTooLong

RESTART_S = 5.0
_EMPTY = QueueStats()


class QueueView:
    """The queues of one engine as one HTTP process sees them. Belongs to the event loop's thread.

    Each queue is the sum of two counts: the requests of this process, counted here at once, and those of the other
    processes, which the engine reports. A change costs the same however many models there are; a report does not.
    """

    def __init__(self) -> None:
        self._queues: dict[str, QueueStats] = {}
        # What this process alone sent, by model, and for each caller by model.
        self._own: dict[str, _Sent] = {}
        self._callers: dict[str, dict[str, _Sent]] = {}
        self.waiting_items = 0
        self.waiting_tokens = 0

    @property
    def queues(self) -> Mapping[str, QueueStats]:
        """Every queue by model. This is the live mapping; copy it to keep it."""
        return self._queues

    def queue(self, model: str) -> QueueStats:
        """One model's queue, empty if nothing is known of it."""
        return self._queues.get(model, _EMPTY)

    @property
    def seconds(self) -> float:
        """The time to drain all queues: no request waits longer."""
        return sum(queue.seconds for queue in self._queues.values())

    @property
    def is_shared(self) -> bool:
        """Whether several callers of this process wait."""
        return len(self._callers) > 1

    def add(self, model: str, items: int, tokens: int, caller: str = "", requests: int = 1) -> None:
        """Count a request of this process."""
        self._own.setdefault(model, _Sent()).add(requests, items, tokens)
        by_model = self._callers.setdefault(caller, {})
        by_model.setdefault(model, _Sent()).add(requests, items, tokens)
        if not by_model[model].requests:
            del by_model[model]
            if not by_model:
                del self._callers[caller]
        self.waiting_items += items
        self.waiting_tokens += tokens
        self._queues[model] = self.queue(model).plus(items, tokens, requests)

    def remove(self, model: str, items: int, tokens: int, caller: str = "") -> None:
        """Take back what add() counted."""
        self.add(model, -items, -tokens, caller, requests=-1)

    def shrink(self, model: str, tokens: int, caller: str = "") -> None:
        """Take back some tokens of a request that stays."""
        self.add(model, 0, -tokens, caller, requests=0)

    def report(self, reported: Mapping[str, QueueStats]) -> None:
        """Replace what is known of other processes and of the speed of each model."""
        self._queues = dict(reported)
        for model, own in self._own.items():
            self._queues[model] = self.queue(model).plus(own.items, own.tokens, own.requests)
        self.waiting_items = sum(queue.items for queue in self._queues.values())
        self.waiting_tokens = sum(queue.tokens for queue in self._queues.values())

    def wait_s(self, own_s: float, caller: str) -> float:
        """How long a request that takes `own_s` seconds will wait before and between its batches.

        Each larger job of its caller delays it by about its own time (take_batch), and each other caller by what its
        own caller gets until it is done. Callers of other processes are taken to be like those of this one.
        """
        own_share_s, foreign_s = 0.0, []
        for name, by_model in self._callers.items():
            loads = [self._load_of_all_processes(model, sent) for model, sent in by_model.items()]
            if name == caller:
                own_share_s = sum(min(seconds, requests * own_s) for seconds, requests in loads)
            else:
                foreign_s.append(sum(seconds for seconds, _ in loads))
        foreign_s += [queue.seconds for model, queue in self._queues.items() if not self._sent(model).requests]
        return own_share_s + sum(min(seconds, own_share_s + own_s) for seconds in foreign_s)

    def _load_of_all_processes(self, model: str, sent: "_Sent") -> tuple[float, float]:
        """Seconds and requests."""
        queue, own = self.queue(model), self._sent(model)
        of_all = queue.requests / own.requests
        seconds = queue.seconds * sent.tokens / own.tokens if own.tokens else 0.0
        return seconds, sent.requests * of_all

    def _sent(self, model: str) -> "_Sent":
        return self._own.get(model) or _Sent()


@dataclass(slots=True)
class _Sent:
    """What was sent and has no answer yet."""

    requests: int = 0
    items: int = 0
    tokens: int = 0

    def add(self, requests: int, items: int, tokens: int) -> None:
        self.requests += requests
        self.items += items
        self.tokens += tokens


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits of a model's queue. An empty queue accepts one request of any size."""

    max_tokens: int
    max_items: int
    timeout_s: float
    max_wait_s: float = float("inf")

    def check_open(
        self, view: QueueView, models: Iterable[str], tokens: int = 1, caller: str = "", left_s: float = float("inf")
    ) -> None:
        """Refuse a request of unknown model and size if the queue of every model is over its limits.

        `tokens` are those of a body of its length.

        Raises: QueueFull: for the model that has room first.
        """
        refusals: list[QueueFull] = []
        for model in models:
            refusal = self._full(view.queue(model), 0, 0) or self._late(view, model, tokens, caller, left_s)
            if refusal is None:
                return
            refusals.append(refusal)
        if refusals:
            raise min(refusals, key=lambda refusal: refusal.retry_after_s)

    def check(
        self,
        view: QueueView,
        model: str,
        tokens: int,
        items: int,
        *,
        caller: str = "",
        left_s: float = float("inf"),
    ) -> None:
        """Refuse a request for which there is no room now, or no time. An empty queue has room for any request.

        `left_s` is the time that the request itself has left.

        Raises: QueueFull, WaitTooLong, TooLate.
        """
        if refusal := self._full(view.queue(model), tokens, items) or self._late(view, model, tokens, caller, left_s):
            raise refusal

    def _full(self, queue: QueueStats, tokens: int, items: int) -> QueueFull | None:
        # A request over the limits itself waits until the queue is empty.
        over_tokens = min(queue.tokens + tokens - self.max_tokens, queue.tokens)
        over_items = min(queue.items + items - self.max_items, queue.items)
        if not queue.items or max(over_tokens, over_items) <= 0:
            return None
        # Before the first full batch the speed of the queue is unknown, and one second is a guess.
        for_tokens_s = over_tokens / queue.tokens_per_s if queue.tokens_per_s else 1.0
        for_items_s = over_items / queue.items * queue.seconds if queue.tokens_per_s else 1.0
        if over_tokens > 0 and for_tokens_s >= for_items_s:
            return QueueFull(queue.tokens, for_tokens_s)
        return TooManyWaiting(queue.items, for_items_s)

    def _late(self, view: QueueView, model: str, tokens: int, caller: str, left_s: float) -> QueueFull | None:
        # A model without a speed of its own is taken to be as fast as the fastest of the device.
        speed = view.queue(model).tokens_per_s or max((queue.tokens_per_s for queue in view.queues.values()), default=0)
        own_s = tokens / speed if speed else 0.0
        left_s = min(left_s, self.timeout_s)
        # Usually the whole queue is short enough, and its callers need not be looked at.
        if view.seconds <= min(self.max_wait_s, left_s - own_s):
            return None
        wait_s = view.wait_s(own_s, caller)
        if wait_s > self.max_wait_s:
            return WaitTooLong(wait_s, self.max_wait_s)
        # Whether its own work is too long is found out at work: the estimate is not that good.
        return TooLate(wait_s + own_s, left_s) if wait_s and wait_s + own_s > left_s else None


def make_admission(config: Config) -> Admission:
    """The limits that the configuration sets."""
    batching = config.batching
    return Admission(batching.queue_tokens, batching.queue_items, config.request_timeout_s, batching.queue_seconds)


def check_phase(phase: Phase) -> None:
    """Refuse every request while the engine is not ready.

    Raises: ModelLoading, Draining, Unavailable.
    """
    match phase:
        case "loading":
            raise ModelLoading
        case "draining":
            raise Draining
        case "failed":
            raise Unavailable("The engine is not running.", RESTART_S)
