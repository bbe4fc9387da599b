"""Pages for people: /docs, from files of our own. No request to another host, so they work behind an air gap."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.staticfiles import StaticFiles

# Swagger UI as the package fastapi-offline carries it; its own app class is not used.
ASSETS = Path(str(files("fastapi_offline"))) / "static"
ASSETS_PATH = "/docs/assets"
PAGES = ("/docs", "/openapi.json")


def add_pages(app: FastAPI) -> None:
    """/docs and its assets."""
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

    app.include_router(router)
    app.mount(ASSETS_PATH, StaticFiles(directory=ASSETS))
