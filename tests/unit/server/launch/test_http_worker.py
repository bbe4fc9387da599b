"""When an HTTP process may end, and what it holds meanwhile."""

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from anyio import to_thread

from server.api.auth import Keys
from server.config import Config
from server.launch.http_worker import THREADS, DrainingServer, make_server
from server.observability.metrics import Metrics
from server.registry import ModelRegistry, ServedModel
from tests.support.server.in_process import in_process_server


@dataclass(eq=False)
class _Connection:
    """One as uvicorn keeps it, which is its own transport here."""

    unsent: int

    @property
    def transport(self) -> "_Connection":
        return self

    def get_write_buffer_size(self) -> int:
        return self.unsent


@pytest.fixture
async def server(embedder: ServedModel) -> AsyncIterator[DrainingServer]:
    """A server that was not asked anything yet."""
    async with in_process_server(embedder) as here:
        yield make_server(Config(), ModelRegistry([embedder]), Keys([]), here.engine, Metrics(), "")
    gc.unfreeze()


async def test_an_answer_that_is_still_being_read_keeps_the_process(server: DrainingServer) -> None:
    slow = _Connection(unsent=1)
    server.server_state.connections.add(slow)  # type: ignore[arg-type]

    draining = asyncio.create_task(server._drain())
    await asyncio.sleep(0.1)
    ended_early = server.should_exit
    slow.unsent = 0
    await asyncio.wait_for(draining, 10)

    assert (ended_early, server.should_exit) == (False, True)


async def test_few_threads_hold_bodies_at_once(server: DrainingServer) -> None:
    assert to_thread.current_default_thread_limiter().total_tokens == THREADS


async def test_the_collector_leaves_what_was_there_at_the_start_alone(server: DrainingServer) -> None:
    # Modules, classes and the application: some 100,000 objects, which each large request would walk through.
    assert gc.get_freeze_count() > 50_000
