"""What the HTTP side knows of the engine, and the engine that runs in a thread of the same process."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from models import Backend, BackendInfo, LoadOptions, ModelInfo, load_backend
from server.config import Batching
from server.errors import Draining, ModelLoading, QueueFull, Unavailable
from server.link import Done, Failed, State, Work
from server.metrics import Metrics
from server.worker import Worker

FIRST_TOKENS_PER_S = 10_000.0


class Engine(Protocol):
    """Takes work and answers it, each exactly once. Methods belong to the event loop's thread."""

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each model is run, by id; a model that is still loading is not in it."""
        ...

    def check_open(self) -> None:
        """Refuse early, before anything is tokenised.

        Raises: ModelLoading, Draining, Unavailable, QueueFull.
        """
        ...

    def submit(self, work: Work) -> asyncio.Future[Done | Failed]:
        """Admit all of a request or none of it.

        Raises: as check_open().
        """
        ...

    def cancel(self, work_id: int) -> None:
        """Drop what of a request has not run; its future is cancelled."""
        ...

    def state(self) -> State:
        """How the engine is; never waits for a batch."""
        ...


class LocalEngine:
    """An engine in this process: one thread, one queue, batches of what waits when the device is free.

    Use it as `async with LocalEngine(...) as engine`: the thread starts, loads the models and ends with the block.
    """

    def __init__(
        self,
        sources: Mapping[str, tuple[ModelInfo, LoadOptions]],
        batching: Batching,
        queue_tokens: int,
        metrics: Metrics,
    ) -> None:
        self._queue_tokens = queue_tokens
        self._futures: dict[int, asyncio.Future[Done | Failed]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining = False
        self._failed = asyncio.Event()
        self._worker = Worker(lambda: _load(sources), batching, metrics, self._deliver, self._on_failure)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._worker.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._draining = True
        self._worker.stop()
        await asyncio.to_thread(self._worker.join)
        for work_id in list(self._futures):
            self._answer(work_id, Failed("unavailable"))

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each model is run, by id."""
        return self._worker.info

    def check_open(self) -> None:
        """Refuse early: loading, draining, dead, or full."""
        state = self.state()
        if state.phase == "loading":
            raise ModelLoading
        if state.phase == "draining":
            raise Draining
        if state.phase == "failed":
            raise Unavailable("The engine is not running.", 10)
        if state.waiting_tokens >= self._queue_tokens:
            rate = state.tokens_per_s or FIRST_TOKENS_PER_S
            raise QueueFull(state.waiting_tokens, state.waiting_tokens / rate)

    def submit(self, work: Work) -> asyncio.Future[Done | Failed]:
        """Admit all of a request or none of it."""
        self.check_open()
        assert self._loop is not None, "submit() needs a started engine"
        future: asyncio.Future[Done | Failed] = self._loop.create_future()
        self._futures[work.id] = future
        self._worker.put(work)
        return future

    def cancel(self, work_id: int) -> None:
        """Drop what of a request has not run."""
        future = self._futures.pop(work_id, None)
        if future is not None:
            self._worker.drop(work_id)
            future.cancel()

    def state(self) -> State:
        """How the engine is."""
        state = self._worker.state()
        if not self._draining:
            return state
        return State("draining", state.waiting_items, state.waiting_tokens, state.tokens_per_s)

    async def failure(self) -> str:
        """Wait until the engine has failed for good, and say why."""
        await self._failed.wait()
        return self._worker.state().reason

    def _on_failure(self) -> None:
        assert self._loop is not None, "a failure of a worker that was never started"
        self._loop.call_soon_threadsafe(self._failed.set)

    def _deliver(self, work_id: int, answer: Done | Failed) -> None:
        assert self._loop is not None, "an answer from a worker that was never started"
        self._loop.call_soon_threadsafe(self._answer, work_id, answer)

    def _answer(self, work_id: int, answer: Done | Failed) -> None:
        future = self._futures.pop(work_id, None)
        if future is not None and not future.done():
            future.set_result(answer)


def _load(sources: Mapping[str, tuple[ModelInfo, LoadOptions]]) -> dict[str, Backend]:
    return {model: load_backend(Path(info.path), info, options) for model, (info, options) in sources.items()}
