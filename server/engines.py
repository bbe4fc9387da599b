"""One engine for each device, and all of them as one: a model's requests go to the engine that has it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from models import BackendInfo, device_name
from server.admission import Admission
from server.catalogue import ServedModel
from server.engine import NearSide
from server.engine_process import EngineSettings
from server.errors import Retryable
from server.link import Done, Failed, Phase, Queue, State, Work
from server.remote import RemoteEngine

# All of them are as the worst of them is.
PHASES: tuple[Phase, ...] = ("ready", "draining", "loading", "failed")


class Engines:
    """An Engine over others, of which each has some of the models."""

    def __init__(self, by_model: Mapping[str, NearSide]) -> None:
        self._by_model = by_model
        self._all = tuple(dict.fromkeys(by_model.values()))
        self._ids = itertools.count(1)

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each model is run, by id; those that are still loading are absent."""
        return {model: info for engine in self._all for model, info in engine.info.items()}

    def state(self) -> State:
        """What waits anywhere, and the worst phase with its reason."""
        states = [engine.state() for engine in self._all]
        worst = max(states, key=lambda state: PHASES.index(state.phase))
        queues: dict[str, Queue] = {}
        for state in states:
            queues |= state.queues
        return State(worst.phase, queues, worst.reason)

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
        """Refuse early what the model's engine would refuse."""
        self._by_model[model].check_room(model, tokens, items)

    def new_id(self) -> int:
        """An id for a Work that no other Work of any of them has."""
        return next(self._ids)

    def submit(self, work: Work) -> asyncio.Future[Done | Failed]:
        """Hand a request to its model's engine."""
        return self._by_model[work.model].submit(work)

    def cancel(self, work_id: int) -> None:
        """Nobody waits for a request any more; only one engine knows of it."""
        for engine in self._all:
            engine.cancel(work_id)

    def drain(self) -> None:
        """Refuse new work from now on."""
        for engine in self._all:
            engine.drain()


@asynccontextmanager
async def remote_engines(settings: Sequence[EngineSettings], admission: Admission) -> AsyncIterator[NearSide | Engines]:
    """The near side of the engine processes that were started with these settings."""
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(RemoteEngine(each.address, admission)) for each in settings]
        if len(engines) == 1:
            yield engines[0]
            return
        yield Engines({model: engine for each, engine in zip(settings, engines, strict=True) for model in each.sources})


def by_device(models: Sequence[ServedModel]) -> list[list[ServedModel]]:
    """The models of each device, in the order in which the devices are first named."""
    if len({model.config.device for model in models}) == 1:
        return [list(models)]
    groups: dict[str, list[ServedModel]] = {}
    # Only where it matters: torch takes seconds to import, and this process needs nothing else of it.
    for model in models:
        groups.setdefault(device_name(model.config.device), []).append(model)
    return list(groups.values())
