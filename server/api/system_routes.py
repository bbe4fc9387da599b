"""Routes for the operator: health, metrics and the API page. None of them waits for a batch."""

from importlib.resources import files
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import PlainTextResponse
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles

from server.api.openapi import plain_text, probe
from server.engine.client import Engine
from server.observability.metrics import Metrics
from server.serialization import dump


def add_system(router: APIRouter, engine: Engine, metrics: Metrics) -> None:
    """Add /health, /live, /ready and /metrics."""

    @router.get("/live", openapi_extra=probe("200 while the process is running"))
    async def live(_: Request) -> Response:
        return _answer(200, "live")

    @router.get(
        "/health", openapi_extra=probe("200 while the server is loading or serving, 503 if its engine has failed")
    )
    async def health(_: Request) -> Response:
        state = engine.state()
        return _answer(503 if state.phase == "failed" else 200, state.phase, state.reason)

    @router.get("/ready", openapi_extra=probe("200 if every model is loaded and the server is not draining, else 503"))
    async def ready(_: Request) -> Response:
        state = engine.state()
        return _answer(200 if state.phase == "ready" else 503, state.phase, state.reason)

    @router.get(
        "/metrics", openapi_extra=plain_text("Metrics in Prometheus' text format"), response_class=PlainTextResponse
    )
    async def read_metrics(_: Request) -> Response:
        # In a thread, because the metrics files of all processes are read.
        text = await to_thread.run_sync(metrics.text, engine.state())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _answer(status: int, phase: str, reason: str = "") -> Response:
    body = {"status": phase} | ({"reason": reason} if reason else {})
    headers = {"Retry-After": "2"} if status == 503 else {}
    return Response(dump(body), status, headers, media_type="application/json")


# Swagger UI from the package fastapi-offline; its own application class is not used.
ASSETS = Path(str(files("fastapi_offline"))) / "static"
ASSETS_PATH = "/docs/assets"
PAGES = ("/", "/docs", "/openapi.json")


def add_pages(app: FastAPI) -> None:
    """Add /docs with its assets, and a redirect from / to it."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def docs() -> Response:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title} {app.version}",
            swagger_js_url=f"{ASSETS_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS_PATH}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS_PATH}/favicon.png",
        )

    @router.get("/")
    async def root() -> Response:
        # Relative, so that it works below a mount and behind a proxy's prefix.
        return RedirectResponse("docs")

    app.include_router(router)
    app.mount(ASSETS_PATH, StaticFiles(directory=ASSETS))
