"""Routes for the operator: health and metrics. None of them waits for a batch."""

from anyio import to_thread
from fastapi import Request, Response
from fastapi.responses import PlainTextResponse

from server.api.openapi import plain_text, probe
from server.api.route_table import Route
from server.engine.client import Engine
from server.observability.metrics import Metrics
from server.serialization import dump


def system_routes(engine: Engine, metrics: Metrics) -> list[Route]:
    """/health, /live, /ready and /metrics."""

    async def live(_: Request) -> Response:
        return _answer(200, "live")

    async def health(_: Request) -> Response:
        state = engine.state()
        return _answer(503 if state.phase == "failed" else 200, state.phase, state.reason)

    async def ready(_: Request) -> Response:
        state = engine.state()
        return _answer(200 if state.phase == "ready" else 503, state.phase, state.reason)

    async def read_metrics(_: Request) -> Response:
        # In a thread, because the metrics files of all processes are read.
        text = await to_thread.run_sync(metrics.text, engine.state())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    return [
        Route("GET", ("/live",), live, probe("200 while the process is running")),
        Route("GET", ("/health",), health, probe("200 while loading or serving, 503 if an engine has failed")),
        Route(
            "GET", ("/ready",), ready, probe("200 if all models are loaded and the server is not draining, else 503")
        ),
        Route("GET", ("/metrics",), read_metrics, plain_text("Metrics in Prometheus' text format"), PlainTextResponse),
    ]


def _answer(status: int, phase: str, reason: str = "") -> Response:
    body = {"status": phase} | ({"reason": reason} if reason else {})
    headers = {"Retry-After": "2"} if status == 503 else {}
    return Response(dump(body), status, headers, media_type="application/json")
