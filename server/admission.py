"""Whether a request may enter the queue: all of it or none, refused before it costs anything."""

from dataclasses import dataclass

from server.config import Config
from server.errors import Draining, ModelLoading, QueueFull, TooLate, Unavailable
from server.link import State

RESTART_S = 5.0


@dataclass(frozen=True, slots=True)
class Admission:
    """The bounds of the queue, never below the largest request that the limits allow."""

    max_tokens: int
    max_items: int
    timeout_s: float

    def check(self, state: State, tokens: int, items: int) -> None:
        """Refuse what the engine cannot take now; an empty queue takes any request that is allowed at all.

        Raises: ModelLoading, Draining, Unavailable, QueueFull, TooLate.
        """
        _check_phase(state)
        if not state.waiting_items:
            return
        if state.waiting_tokens + tokens > self.max_tokens or state.waiting_items + items > self.max_items:
            raise QueueFull(state.waiting_tokens, _seconds(state, state.waiting_tokens + tokens - self.max_tokens))
        # By response ratio a request waits for about as much of each larger one as it brings itself.
        ahead = min(state.waiting_tokens, state.waiting_items * tokens)
        if (wait_s := _seconds(state, ahead + tokens)) > self.timeout_s:
            raise TooLate(wait_s, self.timeout_s)


def make_admission(config: Config) -> Admission:
    """The bounds that the configuration gives."""
    limits, batching = config.limits, config.batching
    return Admission(
        max_tokens=max(batching.queue_tokens, limits.request_tokens, limits.rerank_tokens),
        max_items=max(batching.queue_items, limits.inputs, limits.documents),
        timeout_s=config.request_timeout_s,
    )


def _check_phase(state: State) -> None:
    match state.phase:
        case "loading":
            raise ModelLoading
        case "draining":
            raise Draining
        case "failed":
            raise Unavailable("The engine is not running.", RESTART_S)


def _seconds(state: State, tokens: int) -> float:
    # Before the first batch nothing is measured: no estimate is better than a wrong refusal.
    return max(tokens, 0) / state.tokens_per_s if state.tokens_per_s else 1.0
