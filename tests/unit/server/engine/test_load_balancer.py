"""Several engines that look like one."""

from typing import Any

import numpy as np
import pytest

from models import BackendInfo, Preprocessor, Readout
from server.engine.client import EngineClient
from server.engine.load_balancer import LoadBalancer
from server.engine.messages import (
    CancelRequest,
    EngineReport,
    EngineRequest,
    EngineResult,
    EngineState,
    QueueStats,
    Timings,
)
from server.errors import Draining, ModelLoading, QueueFull
from server.launch.engine_process import by_device
from tests.support.server.in_process import ADMISSION, served


class _Near(EngineClient):
    """An engine that keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(ADMISSION)
        self.sent: list[EngineRequest | CancelRequest] = []

    def report(self, model: str, *, waiting: int = 0, rate: float = 0.0, device: str = "") -> None:
        queue = QueueStats(1 if waiting else 0, waiting, rate)
        self._receive(EngineReport(EngineState("ready", {model: queue}), {model: _info(model, device)}))

    def answer(self, work: EngineRequest) -> None:
        self._receive(EngineResult(work.id, np.zeros((1, 1), dtype=np.float32), Timings(0, 0, 1)))

    def _send(self, message: EngineRequest | CancelRequest) -> None:
        self.sent.append(message)


def _info(model: str, device: str = "") -> BackendInfo:
    return BackendInfo("fake", "", device or f"device of {model}", "float32", 0)


@pytest.fixture
def near() -> dict[str, _Near]:
    """An engine for model m, one for model n."""
    return {"m": _Near(), "n": _Near()}


@pytest.fixture
def engines(near: dict[str, _Near]) -> LoadBalancer:
    """Both as one."""
    return LoadBalancer({model: [engine] for model, engine in near.items()})


def _work(engines: LoadBalancer, model: str) -> EngineRequest:
    ids = [np.zeros(3, dtype=np.int32)]
    return EngineRequest(engines.new_id(), model, Readout("vector"), ids, np.zeros(1, dtype=np.int32))


async def test_work_goes_to_the_engine_of_its_model(engines: LoadBalancer, near: dict[str, _Near]) -> None:
    near["m"].report("m")
    near["n"].report("n")
    work = _work(engines, "n")

    future = engines.submit(work)
    near["n"].answer(work)

    assert (near["m"].sent, near["n"].sent) == ([], [work])
    assert (await future).id == work.id


async def test_a_cancelled_request_is_cancelled_where_it_runs(engines: LoadBalancer, near: dict[str, _Near]) -> None:
    near["m"].report("m")
    near["n"].report("n")
    first, second = _work(engines, "m"), _work(engines, "n")
    engines.submit(first)
    engines.submit(second)

    engines.cancel(first.id)

    assert near["m"].sent == [first, CancelRequest(first.id)]
    assert near["n"].sent == [second]


def test_all_are_ready_when_the_last_one_is(engines: LoadBalancer, near: dict[str, _Near]) -> None:
    near["m"].report("m", waiting=5)
    before = engines.state().phase
    near["n"].report("n", waiting=7)

    assert (before, engines.state().phase) == ("loading", "ready")
    assert engines.state().queues == {"m": QueueStats(1, 5), "n": QueueStats(1, 7)}
    assert {model: info.device for model, info in engines.info.items()} == {"m": "device of m", "n": "device of n"}


def test_while_one_loads_the_other_takes_requests(engines: LoadBalancer, near: dict[str, _Near]) -> None:
    near["m"].report("m")

    engines.check_open()
    engines.check_room("m", 1, 1)
    with pytest.raises(ModelLoading):
        engines.check_room("n", 1, 1)


def test_what_all_refuse_is_refused_before_a_body_is_read(engines: LoadBalancer, near: dict[str, _Near]) -> None:
    near["m"].report("m", waiting=10_100, rate=10)
    near["n"].report("n", waiting=10_100, rate=50)

    with pytest.raises(QueueFull) as caught:
        engines.check_open()

    assert caught.value.headers["Retry-After"] == "2"


async def test_a_model_on_two_devices_is_asked_where_less_waits() -> None:
    one, other = _Near(), _Near()
    engines = LoadBalancer({"m": [one, other]})
    one.report("m", device="cuda:0", rate=100)
    works = [_work(engines, "m") for _ in range(4)]

    futures = [engines.submit(works[0])]
    other.report("m", device="cuda:1", rate=100)
    futures += [engines.submit(work) for work in works[1:]]

    assert ([work.id for work in one.sent], [work.id for work in other.sent]) == ([1, 3], [2, 4])
    assert engines.info["m"].device == "cuda:0, cuda:1"
    assert engines.state().queue("m") == QueueStats(4, 12, 200)
    assert not any(future.done() for future in futures)


def test_all_are_drained(engines: LoadBalancer, near: dict[str, _Near]) -> None:
    near["m"].report("m")
    near["n"].report("n")

    engines.drain()

    assert [each.state().phase for each in near.values()] == ["draining", "draining"]
    with pytest.raises(Draining):
        engines.check_open()


@pytest.mark.parametrize(
    ("devices", "groups"),
    [
        (["auto", "auto"], [["a", "b"]]),
        (["cuda", "cuda:0", "cuda:1"], [["a", "b"], ["c"]]),
        (["cpu", "cuda:1", "cpu"], [["a", "c"], ["b"]]),
        # Without a CUDA device `auto` is the processor.
        (["auto", "cpu"], [["a", "b"]]),
        (["cuda:1", ("cuda", "cuda:1", "cuda:0")], [["a", "b"], ["b"]]),
    ],
)
def test_models_are_grouped_by_their_device(
    embedder_text: Preprocessor, devices: list[Any], groups: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    models = [served(embedder_text, name, device=device) for name, device in zip("abc", devices, strict=False)]

    assert [[model.id for model in group] for group in by_device(models).values()] == groups
