"""Routes for the operator: health, metrics and the API page. None of them waits for a batch."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles

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


# Swagger UI from the package fastapi-offline; its own application class is not used.
ASSETS = Path(str(files("fastapi_offline"))) / "static"
ASSETS_PATH = "/docs/assets"
PAGES = ("/", "/docs", "/openapi.json")

# Addresses are relative, so that the page works below a mount and behind a proxy's prefix.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="{base}docs/assets/swagger-ui.css">
<link rel="icon" href="{base}docs/assets/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{base}docs/assets/swagger-ui-bundle.js"></script>
<script>{script}</script>
</body>
</html>
"""
# A proxy that removes a prefix is not named in the document unless root_path is set: "Execute" must go through it.
# Without validatorUrl the page sends the document's address to a host of Swagger's.
_SCRIPT = """
const url = "{base}openapi.json";
const prefix = new URL(url, location.href).pathname.replace("/openapi.json", "");
function withPrefix(answer) {{
  if (prefix && answer.url.endsWith("/openapi.json")) {{
    answer.text = JSON.stringify({{servers: [{{url: prefix}}], ...JSON.parse(answer.text)}});
  }}
  return answer;
}}
SwaggerUIBundle({{url, dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, responseInterceptor: withPrefix}});
"""
_PAGE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


class _Assets(StaticFiles):
    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers.update(_PAGE_HEADERS)
        return response


def page_routes(title: str, root_path: str) -> list[Route]:
    """/docs, and a redirect from / to it."""

    async def docs(request: Request) -> Response:
        # The page has the same content with a trailing slash, but relative addresses start one level deeper.
        return _page(title, "../" if request.scope.get("raw_path", b"").endswith(b"/") else "")

    async def root(_: Request) -> Response:
        return RedirectResponse(f"{root_path}/docs" if root_path else "docs", headers=_PAGE_HEADERS)

    return [Route("GET", ("/docs",), docs, None), Route("GET", ("/",), root, None)]


def add_assets(app: FastAPI) -> None:
    """Add what the page at /docs loads."""
    app.mount(ASSETS_PATH, _Assets(directory=ASSETS))


def _page(title: str, base: str) -> Response:
    script = _SCRIPT.format(base=base)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    # Swagger UI sets styles in elements, and has its icons in the style sheet.
    policy = (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(
        _PAGE.format(title=title, base=base, script=script),
        headers={**_PAGE_HEADERS, "Content-Security-Policy": policy},
    )
