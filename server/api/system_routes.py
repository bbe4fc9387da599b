"""Routes for the operator: health and metrics. None of them waits for a batch."""

from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

from server.api.openapi import plain_text, probe
from server.api.paths import PROBE_ALIASES
from server.api.route_table import Route
from server.engine.client import Engine
from server.engine.messages import EngineState
from server.observability.metrics import Metrics
from server.serialization import dump

RETRY_AFTER_S = "2"


def system_routes(engine: Engine, metrics: Metrics) -> list[Route]:
    """/health, /live and /ready, with their aliases, and /metrics."""

    async def live(_: Request) -> Response:
        return _answer("/live", engine.state())

    async def health(_: Request) -> Response:
        return _answer("/health", engine.state())

    async def ready(_: Request) -> Response:
        return _answer("/ready", engine.state())

    async def read_metrics(_: Request) -> Response:
        # In a thread, because the metrics files of all processes are read.
        text = await to_thread.run_sync(metrics.text, engine.state())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        Route("GET", ("/live", *PROBE_ALIASES["/live"]), live, probe("200 while the process is running")),
        Route(
            "GET",
            ("/health", *PROBE_ALIASES["/health"]),
            health,
            probe("200 while loading or serving, 503 if an engine has failed"),
        ),
        Route(
            "GET",
            ("/ready", *PROBE_ALIASES["/ready"]),
            ready,
            probe("200 if all models are loaded and the server is not draining, else 503"),
        ),
        Route("GET", ("/metrics",), read_metrics, plain_text("Metrics in Prometheus' text format"), PlainTextResponse),
    ]


def probe_answer(path: str, state: EngineState) -> tuple[int, bytes]:
    """Status and body of a probe."""
    if path == "/live":
        return 200, dump({"status": "live"})
    is_good = state.phase != "failed" if path == "/health" else state.phase == "ready"
    return 200 if is_good else 503, dump({"status": state.phase} | ({"reason": state.reason} if state.reason else {}))


def _answer(path: str, state: EngineState) -> Response:
    status, body = probe_answer(path, state)
    headers = {"Retry-After": RETRY_AFTER_S} if status == 503 else {}
    return Response(body, status, headers, media_type="application/json")
