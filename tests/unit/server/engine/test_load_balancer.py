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


class _RecordingClient(EngineClient):
    """An engine client that keeps the messages that it sends."""

    def __init__(self) -> None:
        super().__init__(ADMISSION)
        self.sent: list[EngineRequest | CancelRequest] = []

    def report(self, model: str, *, waiting: int = 0, rate: float = 0.0, device: str = "") -> None:
        queue = QueueStats(1 if waiting else 0, waiting, rate)
        self._receive(EngineReport(EngineState("ready", {model: queue}), {model: _info(model, device)}))

    def answer(self, request: EngineRequest) -> None:
        self._receive(EngineResult(request.id, np.zeros((1, 1), dtype=np.float32), Timings(0, 0, 1)))

    def _send(self, message: EngineRequest | CancelRequest) -> None:
        self.sent.append(message)


def _info(model: str, device: str = "") -> BackendInfo:
    return BackendInfo("fake", "", device or f"device of {model}", "float32", 0)


@pytest.fixture
def clients() -> dict[str, _RecordingClient]:
    """An engine for model m and one for model n."""
    return {"m": _RecordingClient(), "n": _RecordingClient()}


@pytest.fixture
def balancer(clients: dict[str, _RecordingClient]) -> LoadBalancer:
    """Both as one engine."""
    return LoadBalancer({model: [engine] for model, engine in clients.items()})


def _request(balancer: LoadBalancer, model: str) -> EngineRequest:
    ids = [np.zeros(3, dtype=np.int32)]
    return EngineRequest(balancer.new_id(), model, Readout("vector"), ids, np.zeros(1, dtype=np.int32))


async def test_a_request_goes_to_the_engine_of_its_model(
    balancer: LoadBalancer, clients: dict[str, _RecordingClient]
) -> None:
    clients["m"].report("m")
    clients["n"].report("n")
    request = _request(balancer, "n")

    future = balancer.submit(request)
    clients["n"].answer(request)

    assert (clients["m"].sent, clients["n"].sent) == ([], [request])
    assert (await future).id == request.id


async def test_a_cancelled_request_is_cancelled_where_it_runs(
    balancer: LoadBalancer, clients: dict[str, _RecordingClient]
) -> None:
    clients["m"].report("m")
    clients["n"].report("n")
    first, second = _request(balancer, "m"), _request(balancer, "n")
    balancer.submit(first)
    balancer.submit(second)

    balancer.cancel(first.id)

    assert clients["m"].sent == [first, CancelRequest(first.id)]
    assert clients["n"].sent == [second]


def test_the_balancer_is_ready_when_the_last_engine_is(
    balancer: LoadBalancer, clients: dict[str, _RecordingClient]
) -> None:
    clients["m"].report("m", waiting=5)
    before = balancer.state().phase
    clients["n"].report("n", waiting=7)

    assert (before, balancer.state().phase) == ("loading", "ready")
    assert balancer.state().queues == {"m": QueueStats(1, 5), "n": QueueStats(1, 7)}
    assert {model: info.device for model, info in balancer.info.items()} == {"m": "device of m", "n": "device of n"}


def test_while_one_engine_loads_the_other_accepts_requests(
    balancer: LoadBalancer, clients: dict[str, _RecordingClient]
) -> None:
    clients["m"].report("m")

    balancer.check_open()
    balancer.check_room("m", 1, 1)
    with pytest.raises(ModelLoading):
        balancer.check_room("n", 1, 1)


def test_a_request_that_all_engines_refuse_is_refused_before_its_body_is_read(
    balancer: LoadBalancer, clients: dict[str, _RecordingClient]
) -> None:
    clients["m"].report("m", waiting=10_100, rate=10)
    clients["n"].report("n", waiting=10_100, rate=50)

    with pytest.raises(QueueFull) as caught:
        balancer.check_open()

    assert caught.value.headers["Retry-After"] == "2"


async def test_of_two_engines_with_a_model_the_less_busy_one_gets_the_request() -> None:
    first, second = _RecordingClient(), _RecordingClient()
    balancer = LoadBalancer({"m": [first, second]})
    first.report("m", device="cuda:0", rate=100)
    requests = [_request(balancer, "m") for _ in range(4)]

    futures = [balancer.submit(requests[0])]
    second.report("m", device="cuda:1", rate=100)
    futures += [balancer.submit(request) for request in requests[1:]]

    assert ([request.id for request in first.sent], [request.id for request in second.sent]) == ([1, 3], [2, 4])
    assert balancer.info["m"].device == "cuda:0, cuda:1"
    assert balancer.state().queue("m") == QueueStats(4, 12, 200, requests=4)
    assert not any(future.done() for future in futures)


def test_drain_drains_every_engine(balancer: LoadBalancer, clients: dict[str, _RecordingClient]) -> None:
    clients["m"].report("m")
    clients["n"].report("n")

    balancer.drain()

    assert [client.state().phase for client in clients.values()] == ["draining", "draining"]
    with pytest.raises(Draining):
        balancer.check_open()


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
