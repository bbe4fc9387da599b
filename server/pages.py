"""Pages for people: /docs, from files of our own. No request to another host, so they work behind an air gap."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles

# Swagger UI as the package fastapi-offline carries it; its own app class is not used.
ASSETS = Path(str(files("fastapi_offline"))) / "static"
ASSETS_PATH = "/docs/assets"
PAGES = ("/", "/docs", "/openapi.json")


def add_pages(app: FastAPI) -> None:
    """/docs with its assets, and / which leads there."""
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
        # Relative, so that it holds below a mount and behind a proxy's prefix.
        return RedirectResponse("docs")

    app.include_router(router)
    app.mount(ASSETS_PATH, StaticFiles(directory=ASSETS))
