"""Whether a request may enter the queue: all of it or none, refused before it costs anything."""

from collections.abc import Iterable
from dataclasses import dataclass

from server.config import Config
from server.engine.messages import EngineState, QueueStats
from server.errors import Draining, ModelLoading, QueueFull, TooLate, TooManyWaiting, Unavailable

RESTART_S = 5.0


@dataclass(frozen=True, slots=True)
class Admission:
    """The bounds of a model's queue, never below the largest request that the limits allow."""

    max_tokens: int
    max_items: int
    timeout_s: float

    def check_open(self, state: EngineState, models: Iterable[str]) -> None:
        """Refuse what every model would refuse.

        Raises: ModelLoading, Draining, Unavailable, QueueFull.
        """
        check_phase(state)
        refusals = [self._full(state.queue(model), 0, 0) for model in models]
        if refusals and all(refusals):
            raise min(filter(None, refusals), key=lambda refusal: refusal.retry_after_s)

    def check(self, state: EngineState, model: str, tokens: int, items: int) -> None:
        """Refuse what a model cannot take now; its empty queue takes any request that is allowed at all.

        Raises: ModelLoading, Draining, Unavailable, QueueFull, TooLate.
        """
        check_phase(state)
        queue = state.queue(model)
        if refusal := self._full(queue, tokens, items):
            raise refusal
        own_s = tokens / queue.tokens_per_s if queue.tokens_per_s else 0.0
        # By response ratio a request waits for about as much of each larger one as it brings itself, whoever's it is.
        ahead_s = sum(min(other.seconds, other.items * own_s) for other in state.queues.values())
        if state.waiting_items and ahead_s + own_s > self.timeout_s:
            raise TooLate(ahead_s + own_s, self.timeout_s)

    def _full(self, queue: QueueStats, tokens: int, items: int) -> QueueFull | None:
        over_tokens = queue.tokens + tokens - self.max_tokens
        over_items = queue.items + items - self.max_items
        if not queue.items or max(over_tokens, over_items) <= 0:
            return None
        # Until a queue was seen to drain nothing is known of how long that takes, and a second is a guess.
        for_tokens_s = over_tokens / queue.tokens_per_s if queue.tokens_per_s else 1.0
        for_items_s = over_items / queue.items * queue.seconds if queue.tokens_per_s else 1.0
        if over_tokens > 0 and for_tokens_s >= for_items_s:
            return QueueFull(queue.tokens, for_tokens_s)
        return TooManyWaiting(queue.items, for_items_s)


def make_admission(config: Config) -> Admission:
    """The bounds that the configuration gives."""
    limits, batching = config.limits, config.batching
    return Admission(
        max_tokens=max(batching.queue_tokens, limits.request_tokens, limits.rerank_tokens),
        max_items=max(batching.queue_items, limits.inputs, limits.documents),
        timeout_s=config.request_timeout_s,
    )


def check_phase(state: EngineState) -> None:
    """Refuse everything while the engine is not ready.

    Raises: ModelLoading, Draining, Unavailable.
    """
    match state.phase:
        case "loading":
            raise ModelLoading
        case "draining":
            raise Draining
        case "failed":
            raise Unavailable("The engine is not running.", RESTART_S)
