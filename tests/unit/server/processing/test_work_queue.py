"""Work on texts: small work never waits for large work, and nobody waits in vain."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from anyio import to_thread

from models import TokenizerFailed
from server.errors import ClientGone, DeadlineExceeded, InvalidValue, TokenizerBusy
from server.observability.trace import Trace
from server.processing import work_queue
from server.processing.context import RequestContext
from server.processing.tokenization import Between
from server.processing.work_queue import (
    JSON_THREADS,
    LARGE_THREADS,
    MAX_WAIT_S,
    SMALL_CHARACTERS,
    TRIM_EVERY_S,
    WorkQueue,
)
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server, until

LARGE = SMALL_CHARACTERS + 1


async def _stays() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def _leaves() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def _request(receive: Callable[[], Any] = _stays, timeout_s: float = 60) -> RequestContext:
    return RequestContext(Trace("id"), receive, timeout_s, 0)


class _Held:
    """Work that goes on until it is released or ended."""

    def __init__(self) -> None:
        self.started = 0
        self.ended = 0
        self._release = threading.Event()

    def __call__(self, between: Between) -> str:
        self.started += 1
        try:
            while not self._release.wait(0.005):
                between(0)
        finally:
            self.ended += 1
        return "done"

    def release(self) -> None:
        self._release.set()


@pytest.fixture
def held() -> Iterator[_Held]:
    with ExitStack() as stack:
        held = _Held()
        stack.callback(held.release)
        yield held


def _start(queue: WorkQueue, held: _Held, count: int, **context: Any) -> "list[asyncio.Task[str]]":
    return [asyncio.create_task(queue.tokenize(held, LARGE, "input", _request(**context))) for _ in range(count)]


async def test_small_work_does_not_wait_for_large_work(held: _Held) -> None:
    queue = WorkQueue()
    tasks = _start(queue, held, LARGE_THREADS * 5)
    await until(lambda: held.started == LARGE_THREADS)

    assert await queue.tokenize(lambda _: "small", SMALL_CHARACTERS, "input", _request()) == "small"
    assert await to_thread.run_sync(lambda: "metrics") == "metrics"
    assert held.started == LARGE_THREADS
    held.release()
    assert await asyncio.gather(*tasks) == ["done"] * LARGE_THREADS * 5
    assert queue.waiting_characters == 0


async def test_json_has_threads_of_its_own(held: _Held) -> None:
    queue, release = WorkQueue(), threading.Event()
    tasks = _start(queue, held, LARGE_THREADS)
    writes = [asyncio.create_task(queue.run_json(release.wait)) for _ in range(JSON_THREADS + 5)]

    assert await queue.tokenize(lambda _: "small", 1, "input", _request()) == "small"
    release.set()
    assert all(await asyncio.gather(*writes))
    held.release()
    await asyncio.gather(*tasks)


async def test_a_client_that_leaves_ends_its_work(held: _Held) -> None:
    queue = WorkQueue()
    [task] = _start(queue, held, 1, receive=_leaves)

    with pytest.raises(ClientGone):
        await task
    await until(lambda: queue.waiting_characters == 0)
    assert held.started == held.ended


async def test_work_that_waits_for_a_client_that_left_never_starts(held: _Held) -> None:
    queue = WorkQueue()
    tasks = _start(queue, held, LARGE_THREADS)
    await until(lambda: held.started == LARGE_THREADS)
    late = _start(queue, held, 20, receive=_leaves)

    assert {type(error) for error in await asyncio.gather(*late, return_exceptions=True)} == {ClientGone}
    held.release()
    await asyncio.gather(*tasks)
    assert held.started == LARGE_THREADS
    assert queue.waiting_characters == 0


async def test_the_deadline_ends_work(held: _Held) -> None:
    queue = WorkQueue()
    [task] = _start(queue, held, 1, timeout_s=0.05)

    with pytest.raises(DeadlineExceeded):
        await task
    await until(lambda: queue.waiting_characters == 0)


async def test_a_request_that_would_wait_too_long_is_refused(held: _Held, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each job takes 30 s by this measure.
    monkeypatch.setattr(work_queue, "FIRST_GUESS_PER_S", LARGE / 30)
    queue = WorkQueue()
    tasks = _start(queue, held, 1)
    await until(lambda: held.started == 1)
    wait_s = 30 / LARGE_THREADS

    with pytest.raises(TokenizerBusy) as caught:
        await queue.tokenize(held, LARGE, "input", _request())
    assert caught.value.retry_after_s == pytest.approx(wait_s - MAX_WAIT_S)
    with pytest.raises(TokenizerBusy) as caught:
        await queue.tokenize(held, LARGE, "input", _request(timeout_s=2))
    assert caught.value.retry_after_s == pytest.approx(wait_s - 2, abs=0.1)
    assert await queue.tokenize(lambda _: "small", SMALL_CHARACTERS, "input", _request()) == "small"
    held.release()
    assert await asyncio.gather(*tasks) == ["done"]


async def test_the_speed_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_queue, "FIRST_GUESS_PER_S", 1.0)
    queue = WorkQueue()
    await queue.tokenize(lambda _: None, 10_000_000, "input", _request())
    fast = asyncio.gather(*(queue.tokenize(lambda _: None, LARGE, "input", _request()) for _ in range(20)))

    assert await fast == [None] * 20


class PanicException(BaseException):
    pass


def _panic(_: Between) -> None:
    raise PanicException


def _fail(_: Between) -> None:
    raise TokenizerFailed


@pytest.mark.parametrize("characters", [1, LARGE])
async def test_a_panic_ends_one_request(characters: int) -> None:
    queue = WorkQueue()

    with pytest.raises(RuntimeError, match="a library gave up"):
        await queue.tokenize(_panic, characters, "input", _request())
    with pytest.raises(InvalidValue, match="Invalid 'input': the tokenizer cannot read this text"):
        await queue.tokenize(_fail, characters, "input", _request())
    assert await queue.tokenize(lambda _: "next", characters, "input", _request()) == "next"


async def test_memory_goes_back_after_large_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_queue, "TRIM_AFTER_S", 0.01)
    trims, threads = list[int](), set[str]()
    queue = WorkQueue()
    monkeypatch.setattr(
        queue, "_malloc_trim", lambda pad: (trims.append(pad), threads.add(threading.current_thread().name))
    )
    await queue.tokenize(lambda _: None, SMALL_CHARACTERS, "input", _request())
    assert queue._trim is None
    await asyncio.gather(*(queue.tokenize(lambda _: None, LARGE, "input", _request()) for _ in range(5)))
    await queue.run_json(lambda: None)
    await until(lambda: trims)

    assert trims == [0]
    assert threading.current_thread().name not in threads
    # Not again at once.
    await queue.run_json(lambda: None)
    assert queue._trim is not None
    assert queue._trim.when() > asyncio.get_running_loop().time() + TRIM_EVERY_S / 2


async def test_memory_is_given_back_at_the_earliest_time_that_anybody_wants() -> None:
    queue, now = WorkQueue(), asyncio.get_running_loop().time()

    queue.trim_later(10)
    late = queue._trim
    queue.trim_later(1)
    early = queue._trim
    queue.trim_later(5)

    assert late
    assert late.cancelled()
    assert early is queue._trim
    assert early
    assert now + 1 <= early.when() < now + 5
    early.cancel()


async def test_a_text_that_the_tokenizer_cannot_read_is_400(
    embedder: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(embedder.preprocessor.tokenizer), "encode_within", lambda *_: _fail(lambda _: None))
    async with in_process_server(embedder) as here:
        answer = await here.embed(["a" * 5000])

    assert answer.status_code == 400
    assert "the tokenizer cannot read this text" in answer.json()["error"]["message"]


async def test_a_request_of_too_many_tokens_is_not_tokenised_to_its_end(
    embedder: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.text import tokenizer
    from server.config import RequestLimits

    monkeypatch.setattr(tokenizer, "GROUP_CHARACTERS", 1000)
    groups = list[int]()
    encode = tokenizer._encode
    monkeypatch.setattr(tokenizer, "_encode", lambda of, texts: groups.append(len(texts)) or encode(of, texts))
    async with in_process_server(embedder, limits=RequestLimits(request_tokens=3000)) as here:
        answer = await here.embed(["a" * 900] * 20)

    assert answer.json()["error"]["code"] == "max_tokens_per_request"
    assert len(groups) == 4
