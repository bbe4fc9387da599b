"""Routes for operators: is it alive, is it ready, what does it measure. None of them waits behind a batch."""

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from server.engine import Engine
from server.metrics import Metrics
from server.openapi import plain_text, probe
from server.wire import dump


def add_system(router: APIRouter, engine: Engine, metrics: Metrics) -> None:
    """/health, /live, /ready and /metrics."""

    @router.get("/live", openapi_extra=probe("200 while the process runs"))
    async def live(_: Request) -> Response:
        return _answer(200, "live")

    @router.get("/health", openapi_extra=probe("200 while it can serve or is loading, 503 when the engine is dead"))
    async def health(_: Request) -> Response:
        state = engine.state()
        return _answer(503 if state.phase == "failed" else 200, state.phase, state.reason)

    @router.get("/ready", openapi_extra=probe("200 when every model is loaded and it is not draining, else 503"))
    async def ready(_: Request) -> Response:
        state = engine.state()
        return _answer(200 if state.phase == "ready" else 503, state.phase, state.reason)

    @router.get("/metrics", openapi_extra=plain_text("Prometheus text"), response_class=PlainTextResponse)
    async def read_metrics(_: Request) -> Response:
        # In a thread: the files of every process are read.
        text = await to_thread.run_sync(metrics.text, engine.state())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _answer(status: int, phase: str, reason: str = "") -> Response:
    body = {"status": phase} | ({"reason": reason} if reason else {})
    headers = {"Retry-After": "2"} if status == 503 else {}
    return Response(dump(body), status, headers, media_type="application/json")
