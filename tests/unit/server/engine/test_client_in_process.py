"""The engine in a thread, seen through the HTTP API: phases, refusals, faults."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from models import DeviceLost, Item, ModelError, NonFinite, OutOfMemory
from models.backends.fake import FakeBackend, FakePending
from server.engine.admission import Admission
from server.engine.batching import BatchLimits
from server.registry import ServedModel
from tests.support.server.in_process import ROWS, WIDTH, in_process_server

POISON = 88  # "y"


def _holds_poison(item: Item) -> bool:
    return POISON in item.ids


async def test_76_while_it_loads_requests_get_503_and_probes_say_so(embedder: ServedModel) -> None:
    loaded = threading.Event()

    def load() -> dict[str, FakeBackend]:
        loaded.wait()
        return {"embedder": FakeBackend(WIDTH, ROWS)}

    async with in_process_server(embedder, load=load, wait=False) as server:
        early = await server.embed("a")
        ready, live, health = [await server.client.get(path) for path in ("/ready", "/live", "/health")]
        aliases = [await server.client.get(path) for path in ("/ping", "/readyz", "/livez", "/healthz")]
        loaded.set()
        await server.until(lambda: server.engine.state().phase == "ready")
        late = await server.embed("a")

    assert early.status_code == 503
    assert early.json()["error"]["code"] == "model_loading"
    assert 1 <= int(early.headers["retry-after"]) <= 120
    assert (ready.status_code, live.status_code, health.status_code) == (503, 200, 200)
    assert [alias.status_code for alias in aliases] == [503, 503, 200, 200]
    assert ready.json()["status"] == "loading"
    assert late.status_code == 200


async def test_a_model_that_does_not_load_is_reported(embedder: ServedModel, caplog: pytest.LogCaptureFixture) -> None:
    def load() -> dict[str, FakeBackend]:
        raise ModelError("its weights are damaged")

    async with in_process_server(embedder, load=load) as server:
        answer = await server.embed("a")
        health, ready = [await server.client.get(path) for path in ("/health", "/ready")]

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert (health.status_code, ready.status_code) == (503, 503)
    assert "its weights are damaged" in health.json()["reason"]
    assert "its weights are damaged" in caplog.text


async def test_76_while_it_drains_new_requests_get_503_and_old_ones_their_answer(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as server:
        server.backend.gate.clear()
        old = server.embed_later("a")
        await server.until(lambda: server.backend.batches)
        server.engine.drain()
        new = await server.embed("b")
        ready, live = [await server.client.get(path) for path in ("/ready", "/live")]
        server.backend.gate.set()
        answer = await old

    assert (new.status_code, new.json()["error"]["code"]) == (503, "draining")
    assert (ready.status_code, live.status_code) == (503, 200)
    assert answer.status_code == 200


async def test_75_a_full_queue_is_429_and_nothing_of_the_request_runs(embedder: ServedModel) -> None:
    async with in_process_server(embedder, admission=Admission(10, 100, 590), batch=BatchLimits(8, 8)) as server:
        server.backend.gate.clear()
        first = server.embed_later("aaaaaaa")
        await server.until(lambda: server.backend.batches)
        refused = await server.embed(["aa", "a"])
        server.backend.gate.set()
        served = await first
        again = await server.embed(["aa", "a"])

    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert int(refused.headers["retry-after-ms"]) == 1000 * int(refused.headers["retry-after"])
    assert (served.status_code, again.status_code) == (200, 200)
    assert [sorted(batch) for batch in server.backend.batches] == [[8], [2, 3]]


async def test_78_a_request_over_its_time_limit_is_504(embedder: ServedModel) -> None:
    async with in_process_server(embedder, batch=BatchLimits(1, 1)) as server:
        server.backend.gate.clear()
        first = server.embed_later("a")
        await server.until(lambda: server.backend.batches)
        late = await server.client.post("/v1/embeddings", json={"input": "bb"}, headers={"x-request-timeout": "0.05"})
        server.backend.gate.set()
        await first
        await server.embed("c")

    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert late.json()["error"]["message"] == "The request was not answered within its limit of 0.05 s."
    assert server.backend.batches == [(2,), (2,)]


async def test_27_a_value_that_is_not_finite_fails_only_its_request(embedder: ServedModel) -> None:
    def fault(items: Sequence[Item]) -> None:
        bad = tuple(index for index, item in enumerate(items) if _holds_poison(item))
        if bad:
            raise NonFinite(bad, [np.ones(WIDTH, dtype=np.float32) for _ in items])

    async with in_process_server(embedder, backend=FakeBackend(WIDTH, ROWS, fault=fault)) as server:
        server.backend.gate.clear()
        # The first is running while the others gather for one batch.
        first = server.embed_later("a")
        await server.until(lambda: server.backend.batches)
        others = [server.embed_later(texts) for texts in (["b", "c"], ["a", "yyy"], ["d"])]
        await server.until(lambda: server.engine.state().waiting_items == 6)
        server.backend.gate.set()
        answers = [await request for request in (first, *others)]

    assert [answer.status_code for answer in answers] == [200, 200, 500, 200]
    error = answers[2].json()["error"]
    assert (error["code"], error["type"]) == ("non_finite_output", "server_error")
    assert error["message"] == "The model produced a non-finite value for input[1]."
    assert answers[2].headers["x-should-retry"] == "false"
    assert [len(batch) for batch in server.backend.batches] == [1, 5]


async def test_27_nan_of_a_backend_without_a_check_is_not_sent(embedder: ServedModel) -> None:
    class Unchecked(FakeBackend):
        def launch(self, items: Sequence[Item], *, keep_prefix: bool = False) -> FakePending:
            rows = [np.full(WIDTH, np.nan if _holds_poison(item) else 1, dtype=np.float32) for item in items]
            return replace(super().launch(items), make=lambda: rows)

    async with in_process_server(embedder, backend=Unchecked(WIDTH, ROWS)) as server:
        bad = await server.embed(["a", "b", "y"])
        good = await server.embed(["a", "b"])

    assert (bad.status_code, bad.json()["error"]["code"]) == (500, "non_finite_output")
    assert "input[2]" in bad.json()["error"]["message"]
    assert good.status_code == 200


async def test_78_out_of_memory_fails_only_the_request_that_does_not_fit(embedder: ServedModel) -> None:
    def fault(items: Sequence[Item]) -> None:
        if any(map(_holds_poison, items)):
            raise OutOfMemory

    async with in_process_server(embedder, backend=FakeBackend(WIDTH, ROWS, fault=fault)) as server:
        server.backend.gate.clear()
        others = [server.embed_later(texts) for texts in (["a", "b"], ["c", "yy"], ["d"])]
        await server.until(lambda: server.engine.state().waiting_items == 5)
        server.backend.gate.set()
        answers = [await request for request in others]
        later = await server.embed("e")

    assert [answer.status_code for answer in answers] == [200, 500, 200]
    assert answers[1].json()["error"]["message"] == (
        "The device has too little memory for input[1], which has 3 tokens. Send shorter text."
    )
    assert later.status_code == 200


async def test_an_internal_error_is_500_with_the_request_id_and_the_next_request_is_served(
    embedder: ServedModel, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(items: Sequence[Item]) -> None:
        if any(map(_holds_poison, items)):
            raise RuntimeError("something secret in /a/path")

    async with in_process_server(embedder, backend=FakeBackend(WIDTH, ROWS, fault=fault)) as server:
        bad = await server.client.post("/v1/embeddings", json={"input": "y"}, headers={"x-request-id": "abc-1"})
        good = await server.embed("a")

    assert (bad.status_code, bad.json()["error"]["code"]) == (500, "internal_error")
    assert bad.json()["error"]["message"] == "Internal error. Request id abc-1."
    assert "secret" not in bad.text
    assert "something secret" in caplog.text
    assert good.status_code == 200


async def test_after_a_lost_device_pending_and_later_requests_are_503(embedder: ServedModel) -> None:
    def fault(items: Sequence[Item]) -> None:
        raise DeviceLost("it fell off the bus")

    async with in_process_server(
        embedder, backend=FakeBackend(WIDTH, ROWS, fault=fault), batch=BatchLimits(2, 1)
    ) as server:
        server.backend.gate.clear()
        waiting = [server.embed_later(texts) for texts in ("a", "b", "c")]
        await server.until(lambda: server.engine.state().waiting_items == 3)
        server.backend.gate.set()
        answers = [await request for request in waiting]
        late = await server.embed("d")
        health = await server.client.get("/health")

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert (late.status_code, health.status_code) == (503, 503)
    assert "it fell off the bus" in health.json()["reason"]


async def test_83_probes_never_wait_for_a_batch(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as server:
        server.backend.gate.clear()
        held = server.embed_later("a")
        await server.until(lambda: server.backend.batches)
        answers = [await server.client.get(path) for path in ("/health", "/ready", "/metrics", "/v1/models")]
        server.backend.gate.set()
        await held

    assert [answer.status_code for answer in answers] == [200] * 4


async def test_requests_that_wait_when_the_engine_ends_are_answered(embedder: ServedModel) -> None:
    async with in_process_server(embedder, batch=BatchLimits(1, 1)) as server:
        server.backend.gate.clear()
        waiting = [server.embed_later(texts) for texts in ("a", "b")]
        await server.until(lambda: server.engine.state().waiting_items == 2)
        server.backend.gate.set()

    assert {(await request).status_code for request in waiting} <= {200, 503}
