"""Whether a request may enter the queue: all of it or none, refused before it costs anything."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from server.config import Config
from server.engine.messages import Phase, QueueStats
from server.errors import Draining, ModelLoading, QueueFull, TooLate, TooManyWaiting, Unavailable

RESTART_S = 5.0
_EMPTY = QueueStats()


class QueueView:
    """The queues of one engine as one HTTP process sees them. Belongs to the event loop's thread.

    Each queue is the sum of two counts: the requests of this process, counted here at once, and those of the other
    processes, which the engine reports. A change costs the same however many models there are; a report does not.
    """

    def __init__(self) -> None:
        self._queues: dict[str, QueueStats] = {}
        # The items and tokens of this process alone, by model.
        self._own: dict[str, tuple[int, int]] = {}
        self.waiting_items = 0
        self.waiting_tokens = 0

    @property
    def queues(self) -> Mapping[str, QueueStats]:
        """Every queue by model. This is the live mapping; copy it to keep it."""
        return self._queues

    def queue(self, model: str) -> QueueStats:
        """One model's queue, empty if nothing is known of it."""
        return self._queues.get(model, _EMPTY)

    def add(self, model: str, items: int, tokens: int) -> None:
        """Count a request of this process."""
        own_items, own_tokens = self._own.get(model, (0, 0))
        self._own[model] = own_items + items, own_tokens + tokens
        self.waiting_items += items
        self.waiting_tokens += tokens
        queue = self.queue(model)
        self._queues[model] = QueueStats(queue.items + items, queue.tokens + tokens, queue.tokens_per_s)

    def remove(self, model: str, items: int, tokens: int) -> None:
        """Take back what add() counted."""
        self.add(model, -items, -tokens)

    def report(self, reported: Mapping[str, QueueStats]) -> None:
        """Replace what is known of other processes and of the speed of each model."""
        self._queues = dict(reported)
        for model, (items, tokens) in self._own.items():
            queue = self.queue(model)
            self._queues[model] = QueueStats(queue.items + items, queue.tokens + tokens, queue.tokens_per_s)
        self.waiting_items = sum(queue.items for queue in self._queues.values())
        self.waiting_tokens = sum(queue.tokens for queue in self._queues.values())


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits of a model's queue. An empty queue accepts one request of any size."""

    max_tokens: int
    max_items: int
    timeout_s: float

    def check_open(self, view: QueueView, models: Iterable[str]) -> None:
        """Refuse a request of unknown size if the queue of every model is over its limits.

        Raises: QueueFull: for the model that has room first.
        """
        refusals: list[QueueFull] = []
        for model in models:
            refusal = self._full(view.queue(model), 0, 0)
            if refusal is None:
                return
            refusals.append(refusal)
        if refusals:
            raise min(refusals, key=lambda refusal: refusal.retry_after_s)

    def check(self, view: QueueView, model: str, tokens: int, items: int) -> None:
        """Refuse a request for which there is no room now, or no time. An empty queue has room for any request.

        Raises: QueueFull, TooLate.
        """
        queue = view.queue(model)
        if refusal := self._full(queue, tokens, items):
            raise refusal
        own_s = tokens / queue.tokens_per_s if queue.tokens_per_s else 0.0
        # Each item that waits delays the request by own_s at most: usually that bound decides, without the sum.
        if not view.waiting_items or (view.waiting_items + 1) * own_s <= self.timeout_s:
            return
        total_s = _ahead_s(view, own_s) + own_s
        if total_s > self.timeout_s:
            raise TooLate(total_s, self.timeout_s)

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


def make_admission(config: Config) -> Admission:
    """The limits that the configuration sets."""
    batching = config.batching
    return Admission(batching.queue_tokens, batching.queue_items, config.request_timeout_s)


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


def _ahead_s(view: QueueView, own_s: float) -> float:
    # Under highest-response-ratio scheduling, each larger job ahead delays a request by about the request's own
    # service time, whichever model the job is for.
    return sum(min(queue.seconds, queue.items * own_s) for queue in view.queues.values())
