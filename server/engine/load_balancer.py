"""One engine for each device, and all of them as one: a request goes to an engine that has its model."""

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from models import BackendInfo
from server.engine.client import EngineClient
from server.engine.messages import EngineFailure, EngineRequest, EngineResult, EngineState, Phase, QueueStats
from server.errors import Retryable

# All of them are as the worst of them is.
PHASES: tuple[Phase, ...] = ("ready", "draining", "loading", "failed")


class LoadBalancer:
    """An Engine over others, of which each has some of the models; several may have the same."""

    def __init__(self, by_model: Mapping[str, Sequence[EngineClient]]) -> None:
        self._by_model = by_model
        self._all = tuple(dict.fromkeys(engine for engines in by_model.values() for engine in engines))
        self._ids = itertools.count(1)

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each model is run, by id, with all of its devices; those that are still loading are absent."""
        found: dict[str, BackendInfo] = {}
        for model, engines in self._by_model.items():
            infos = [engine.info[model] for engine in engines if model in engine.info]
            if infos:
                found[model] = replace(infos[0], device=", ".join(info.device for info in infos))
        return found

    def state(self) -> EngineState:
        """What waits anywhere, and the worst phase with its reason."""
        states = [engine.state() for engine in self._all]
        worst = max(states, key=_badness)
        queues = {model: _sum(state.queue(model) for state in states) for model in self._by_model}
        return EngineState(worst.phase, queues, worst.reason)

    def check_open(self) -> None:
        """Refuse what every engine would refuse.

        Raises: ModelLoading, Draining, Unavailable, QueueFull.
        """
        refusals: list[Retryable] = []
        for engine in self._all:
            try:
                return engine.check_open()
            except Retryable as refusal:
                refusals.append(refusal)
        raise min(refusals, key=lambda refusal: refusal.retry_after_s)

    def check_room(self, model: str, tokens: int, items: int) -> None:
        """Refuse early what the engine that would get it refuses."""
        self._least_busy(model).check_room(model, tokens, items)

    def new_id(self) -> int:
        """An id for a Work that no other Work of any of them has."""
        return next(self._ids)

    def submit(self, work: EngineRequest) -> asyncio.Future[EngineResult | EngineFailure]:
        """Hand a request, as a whole, to the one of its model's engines where the least waits."""
        return self._least_busy(work.model).submit(work)

    def cancel(self, work_id: int) -> None:
        """Nobody waits for a request any more; only one engine knows of it."""
        for engine in self._all:
            engine.cancel(work_id)

    def drain(self) -> None:
        """Refuse new work from now on."""
        for engine in self._all:
            engine.drain()

    def _least_busy(self, model: str) -> EngineClient:
        engines = self._by_model[model]
        return engines[0] if len(engines) == 1 else min(engines, key=lambda engine: _load(engine.state()))


def _badness(state: EngineState) -> int:
    return PHASES.index(state.phase)


def _load(state: EngineState) -> tuple[int, int]:
    # Of all models: they share the device.
    return _badness(state), state.waiting_tokens


def _sum(queues: Iterable[QueueStats]) -> QueueStats:
    known = list(queues)
    items, tokens = sum(queue.items for queue in known), sum(queue.tokens for queue in known)
    return QueueStats(items, tokens, sum(queue.tokens_per_s for queue in known))
