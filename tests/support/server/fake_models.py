"""A test stand: models without weights whose batches a test holds and releases, many clients, and processes to end."""

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
from tests.support.server.process import Hearth

EMBEDDER = Path(demo_models()[0])


class FakeModel:
    """A folder with the demo embedder's words and no network; a test may hold its batches."""

    def __init__(self, folder: Path, **faults: Any) -> None:
        """Make it in `folder`; `faults` as models.backends.fake.load reads them."""
        folder.mkdir(parents=True)
        for file in EMBEDDER.iterdir():
            (folder / file.name).symlink_to(file)
        (folder / "fake.json").write_text(json.dumps(faults), "utf-8")
        self._hold, self._held = folder / "hold", folder / "held"
        self.config = {"path": str(folder), "id": "fake", "backend": "fake"}

    def hold(self) -> None:
        """The next batch does not end."""
        self._hold.touch()

    def is_held(self) -> bool:
        """Whether a batch has been launched since, and does not end."""
        return self._held.exists()

    def release(self) -> None:
        """Let it end."""
        self._hold.unlink(missing_ok=True)
        self._held.unlink(missing_ok=True)


def token_id(text: str) -> int:
    """The one id of a text."""
    (found,) = load_preprocessor(EMBEDDER).tokenizer.encode([text])[0].tolist()
    return int(found)


def ask(hearth: Hearth, path: str) -> httpx.Response:
    """A page, over a connection of its own."""
    # Reading certificates would take longer than the answer.
    return httpx.get(f"{hearth.url}{path}", trust_env=False, timeout=60, verify=False)


def total(hearth: Hearth, name: str) -> float:
    """A metric, its labels added up; a label may be part of the name."""
    text = ask(hearth, "/metrics").text
    stem = re.escape(name) if name.endswith("}") else re.escape(name) + r"(?:\{[^}]*\})?"
    return sum(float(value) for value in re.findall(rf"^{stem} (\S+)$", text, re.MULTILINE))


def batches(hearth: Hearth) -> float:
    """How many batches have ended."""
    return total(hearth, "hearth_batch_tokens_count")


class Clients:
    """Requests that wait for their answers, each over a connection of its own."""

    def __init__(self, hearth: Hearth) -> None:
        """None yet."""
        self._hearth = hearth
        self._tasks: list[asyncio.Task[httpx.Response]] = []

    def send(self, count: int, given: Any = "a", **headers: str) -> None:
        """Send so many more requests at once."""
        self._tasks += [asyncio.create_task(self._ask(given, headers)) for _ in range(count)]

    async def send_slowly(self, count: int, given: Any, *, every_s: float) -> None:
        """Send them one after another, answered or not."""
        for _ in range(count):
            self.send(1, given)
            await asyncio.sleep(every_s)

    async def answers(self) -> list[httpx.Response]:
        """All of them, in the order in which they were sent."""
        return await asyncio.gather(*self._tasks)

    def waiting(self) -> int:
        """How many have no answer yet."""
        return sum(not task.done() for task in self._tasks)

    async def hang_up(self, start: int = 0) -> None:
        """Close the connections from number `start` on."""
        for task in self._tasks[start:]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        del self._tasks[start:]

    async def drop(self) -> None:
        """Forget all of them, whatever became of them."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _ask(self, given: Any, headers: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self._hearth.url, timeout=60, trust_env=False, verify=False) as client:
            return await client.post(V1, json={"input": given}, headers=headers)


async def until(hearth: Hearth, happened: Callable[[], object], timeout_s: float = 30) -> None:
    """Ask again and again, while clients go on."""
    await asyncio.to_thread(hearth.until, happened, timeout_s)


async def queued(hearth: Hearth, items: int) -> None:
    """Until so many inputs wait at the engine, those of its running batch left out."""
    await until(hearth, lambda: total(hearth, "hearth_queue_items") == items)


async def in_flight(hearth: Hearth, requests: int) -> None:
    """Until the server is at work on so many requests."""
    # Whoever asks is a request too.
    await until(hearth, lambda: total(hearth, "hearth_requests_in_flight") == requests + 1)


async def started_again(hearth: Hearth, workers: int = 1) -> None:
    """Until a second engine serves, and every HTTP process knows."""
    await until(hearth, lambda: hearth.text().count("ready on") == 2)
    await until(hearth, lambda: total(hearth, "hearth_ready") == workers)


async def hold(hearth: Hearth, model: FakeModel, clients: Clients, given: Any = "a") -> None:
    """Send one request and hold its batch: what comes after it waits."""
    model.hold()
    clients.send(1, given)
    await until(hearth, model.is_held)


def children(pid: int) -> list[int]:
    """The processes that a process started, oldest first, without multiprocessing's resource tracker."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return sorted(int(child) for child in found if b"resource_tracker" not in _command(int(child)))


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@contextmanager
def stopped(pids: Iterable[int]) -> Iterator[None]:
    """Processes that take no part, so that others must answer."""
    chosen = list(pids)
    send(chosen, signal.SIGSTOP)
    try:
        yield
    finally:
        send(alive(chosen), signal.SIGCONT)


def engines_of(models: Iterable[FakeModel]) -> int:
    """How many engine processes they take."""
    devices = [model.config.get("device", "auto") for model in models]
    return len({name for device in devices for name in ([device] if isinstance(device, str) else device)})


def wait_for_workers(hearth: Hearth, engines: int = 1) -> None:
    """Until each of several HTTP processes says that it is ready; the engines were started before them."""
    workers = children(pid_of(hearth))[engines:]
    for worker in workers:
        with stopped(set(workers) - {worker}):
            hearth.until(lambda: ask(hearth, "/ready").status_code == 200)


def pid_of(hearth: Hearth) -> int:
    """Its main process."""
    return hearth._process.pid


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each."""
    for pid in pids:
        os.kill(pid, number)


def alive(pids: Iterable[int]) -> list[int]:
    """Those that still run."""
    return [pid for pid in pids if _command(pid)]


def stages(answer: httpx.Response) -> dict[str, float]:
    """The Server-Timing header, milliseconds by stage."""
    assert answer.status_code == 200, answer.text
    parts = answer.headers["server-timing"].split(", ")
    return {name: float(value) for name, value in (part.split(";dur=") for part in parts)}


def p99(values: Iterable[float]) -> float:
    """The 99th percentile."""
    return float(np.percentile(np.array(list(values)), 99))
