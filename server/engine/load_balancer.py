"""Several engines, one for each device, as one: a request goes to an engine that runs its model."""

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from models import BackendInfo
from server.engine.client import FOREVER_S, EngineClient
from server.engine.messages import EngineFailure, EngineRequest, EngineResult, EngineState, Phase, QueueStats
from server.errors import Retryable

# From the best to the worst: the worst phase of any engine is the phase of all.
PHASES: tuple[Phase, ...] = ("ready", "draining", "loading", "failed")


class LoadBalancer:
    """An Engine made of several; each runs some of the models, and a model may run on more than one."""

    def __init__(self, by_model: Mapping[str, Sequence[EngineClient]]) -> None:
        self._by_model = by_model
        self._engines = tuple(dict.fromkeys(engine for engines in by_model.values() for engine in engines))
        self._ids = itertools.count(1)

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        merged: dict[str, BackendInfo] = {}
        for model, engines in self._by_model.items():
            infos = [engine.info[model] for engine in engines if model in engine.info]
            if infos:
                merged[model] = replace(infos[0], device=", ".join(info.device for info in infos))
        return merged

    def state(self) -> EngineState:
        states = [engine.state() for engine in self._engines]
        worst = max(states, key=lambda state: PHASES.index(state.phase))
        queues = {model: _sum(state.queue(model) for state in states) for model in self._by_model}
        return EngineState(worst.phase, queues, worst.reason)

    def check_open(self, *, tokens: int = 1, caller: str = "", left_s: float = FOREVER_S) -> None:
        refusals: list[Retryable] = []
        for engine in self._engines:
            try:
                return engine.check_open(tokens=tokens, caller=caller, left_s=left_s)
            except Retryable as refusal:
                refusals.append(refusal)
        raise min(refusals, key=lambda refusal: refusal.retry_after_s)

    def check_room(self, model: str, tokens: int, items: int, *, caller: str = "", left_s: float = FOREVER_S) -> None:
        self._least_busy(model).check_room(model, tokens, items, caller=caller, left_s=left_s)

    def new_id(self) -> int:
        return next(self._ids)

    def submit(
        self, request: EngineRequest, *, left_s: float = FOREVER_S
    ) -> asyncio.Future[EngineResult | EngineFailure]:
        return self._least_busy(request.model).submit(request, left_s=left_s)

    def cancel(self, request_id: int) -> None:
        # Ids are unique over all engines, and those that never had the request ignore it.
        for engine in self._engines:
            engine.cancel(request_id)

    def drain(self) -> None:
        for engine in self._engines:
            engine.drain()

    def end_drain(self) -> None:
        for engine in self._engines:
            engine.end_drain()

    def _least_busy(self, model: str) -> EngineClient:
        engines = self._by_model[model]
        return engines[0] if len(engines) == 1 else min(engines, key=_load)


def _load(engine: EngineClient) -> tuple[int, int]:
    # The tokens of all its models count, because they share the device.
    return PHASES.index(engine.phase), engine.waiting_tokens


def _sum(queues: Iterable[QueueStats]) -> QueueStats:
    by_engine = list(queues)
    items, tokens = sum(queue.items for queue in by_engine), sum(queue.tokens for queue in by_engine)
    requests = sum(queue.requests for queue in by_engine)
    return QueueStats(items, tokens, sum(queue.tokens_per_s for queue in by_engine), requests)
