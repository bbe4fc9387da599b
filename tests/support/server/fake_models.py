"""Fake models whose batches a test holds and releases, many clients at once, and signals to processes."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from models import demo_models, load_preprocessor
from tests.support.http.requests import V1
from tests.support.server.process import ServerProcess

EMBEDDER = Path(demo_models()[0])


class FakeModel:
    """A folder with the tokenizer of the demo embedder and no network. A test can hold its batches."""

    def __init__(self, folder: Path, **faults: Any) -> None:
        """Write it to `folder`, with `faults` as models.backends.fake.load reads them."""
        folder.mkdir(parents=True)
        for file in EMBEDDER.iterdir():
            (folder / file.name).symlink_to(file)
        (folder / "fake.json").write_text(json.dumps(faults), "utf-8")
        self._hold, self._held = folder / "hold", folder / "held"
        self.config = {"path": str(folder), "id": "fake", "backend": "fake"}

    def hold(self) -> None:
        """Keep the next batch from ending."""
        self._hold.touch()

    def is_held(self) -> bool:
        """Whether a batch has been launched since hold(), and is kept from ending."""
        return self._held.exists()

    def release(self) -> None:
        """Let the held batch end."""
        self._hold.unlink(missing_ok=True)
        self._held.unlink(missing_ok=True)


def token_id(text: str) -> int:
    """The id of a text that is a single token."""
    (token,) = load_preprocessor(EMBEDDER).tokenizer.encode([text])[0].tolist()
    return int(token)


def get_page(hearth: ServerProcess, path: str) -> httpx.Response:
    """GET a path over a new connection."""
    # Reading certificates would take longer than the answer.
    return httpx.get(f"{hearth.url}{path}", trust_env=False, timeout=60, verify=False)


def metric_total(hearth: ServerProcess, name: str) -> float:
    """The sum of a metric over its labels; `name` may include a label to select one series."""
    text = get_page(hearth, "/metrics").text
    stem = re.escape(name) if name.endswith("}") else re.escape(name) + r"(?:\{[^}]*\})?"
    return sum(float(value) for value in re.findall(rf"^{stem} (\S+)$", text, re.MULTILINE))


def batches(hearth: ServerProcess) -> float:
    """The number of batches that have ended."""
    return metric_total(hearth, "hearth_batch_tokens_count")


class Clients:
    """Concurrent embeddings requests, each over a connection of its own."""

    def __init__(self, hearth: ServerProcess) -> None:
        self._hearth = hearth
        self._tasks: list[asyncio.Task[httpx.Response]] = []

    def send(self, count: int, texts: Any = "a", **headers: str) -> None:
        """Send `count` requests at once."""
        self._tasks += [asyncio.create_task(self._ask(texts, headers)) for _ in range(count)]

    async def send_slowly(self, count: int, texts: Any, *, every_s: float) -> None:
        """Send `count` requests at a fixed interval, whether or not they are answered."""
        for _ in range(count):
            self.send(1, texts)
            await asyncio.sleep(every_s)

    async def answers(self) -> list[httpx.Response]:
        """All answers, in the order in which the requests were sent."""
        return await asyncio.gather(*self._tasks)

    def waiting(self) -> int:
        """The number of requests without an answer."""
        return sum(not task.done() for task in self._tasks)

    async def hang_up(self, start: int = 0) -> None:
        """Close the connections of all requests from index `start` on."""
        for task in self._tasks[start:]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        del self._tasks[start:]

    async def drop(self) -> None:
        """Wait for all requests, and ignore their answers and errors."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _ask(self, texts: Any, headers: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self._hearth.url, timeout=60, trust_env=False, verify=False) as client:
            return await client.post(V1, json={"input": texts}, headers=headers)


async def until(hearth: ServerProcess, happened: Callable[[], object], timeout_s: float = 30) -> None:
    """Poll until `happened()` is true, without blocking the clients."""
    await asyncio.to_thread(hearth.until, happened, timeout_s)


async def queued(hearth: ServerProcess, items: int) -> None:
    """Wait until exactly `items` inputs wait at the engine, not counting its running batch."""
    await until(hearth, lambda: metric_total(hearth, "hearth_queue_items") == items)


async def in_flight(hearth: ServerProcess, requests: int) -> None:
    """Wait until exactly `requests` requests are in progress."""
    # The request for /metrics counts too.
    await until(hearth, lambda: metric_total(hearth, "hearth_requests_in_flight") == requests + 1)


async def restarted(hearth: ServerProcess, workers: int = 1, engines: int = 2) -> None:
    """Wait until a second engine is ready, or the number of them given, and every HTTP process knows."""
    await until(hearth, lambda: hearth.text().count("ready on") == engines)
    await until(hearth, lambda: metric_total(hearth, "hearth_ready") == workers)


async def hold(hearth: ServerProcess, model: FakeModel, clients: Clients, texts: Any = "a") -> None:
    """Send a request and hold its batch, so that later requests wait."""
    model.hold()
    clients.send(1, texts)
    await until(hearth, model.is_held)


def children(pid: int) -> list[int]:
    """The child processes, oldest first, without the resource tracker of multiprocessing."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return sorted(int(child) for child in pids if b"resource_tracker" not in _command(int(child)))


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextmanager
def paused(pids: Iterable[int]) -> Iterator[None]:
    """Pause processes, so that others must answer."""
    chosen = list(pids)
    send_signal(chosen, signal.SIGSTOP)
    try:
        yield
    finally:
        send_signal(running(chosen), signal.SIGCONT)


def engines_of(models: Iterable[FakeModel]) -> int:
    """The number of engine processes that these models need."""
    devices = [model.config.get("device", "auto") for model in models]
    return len({name for device in devices for name in ([device] if isinstance(device, str) else device)})


def wait_for_workers(hearth: ServerProcess, engines: int = 1) -> None:
    """Wait until each HTTP process is ready. Engine processes are the first children."""
    workers = children(pid_of(hearth))[engines:]
    for worker in workers:
        # Paused for a moment at a time: a process that is silent for long is replaced.
        hearth.until(lambda: _is_ready(hearth, set(workers) - {worker}))  # noqa: B023


def _is_ready(hearth: ServerProcess, others: Iterable[int]) -> bool:
    with paused(others), suppress(httpx.TransportError):
        return httpx.get(f"{hearth.url}/ready", trust_env=False, timeout=2, verify=False).status_code == 200
    return False


def pid_of(hearth: ServerProcess) -> int:
    """The id of the main process."""
    return hearth._process.pid


def send_signal(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each process."""
    for pid in pids:
        os.kill(pid, number)


def running(pids: Iterable[int]) -> list[int]:
    """The processes that still exist."""
    return [pid for pid in pids if _command(pid)]


def stages(answer: httpx.Response) -> dict[str, float]:
    """The Server-Timing header: milliseconds by stage."""
    assert answer.status_code == 200, answer.text
    parts = answer.headers["server-timing"].split(", ")
    return {name: float(value) for name, value in (part.split(";dur=") for part in parts)}


def p99(values: Iterable[float]) -> float:
    """The 99th percentile."""
    return float(np.percentile(np.array(list(values)), 99))
