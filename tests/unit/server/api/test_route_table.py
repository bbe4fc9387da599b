"""The route table and what is made from it: FastAPI's routes, the OpenAPI document, and which routes need a key."""

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route as StarletteRoute

from server.api.route_table import Route
from server.config import Auth
from server.registry import ServedModel
from tests.support.server.in_process import in_process_server

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
OPEN = {"/", "/docs", "/openapi.json", "/health", "/healthz", "/live", "/livez", "/ready", "/readyz", "/ping"}


def _address(path: str) -> str:
    return path.replace("{model:path}", "embedder")


async def test_every_path_of_the_table_is_a_route_and_every_route_is_in_the_table(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        rows: list[Route] = here.app.state.routes
        routes = {(route.path, *route.methods) for route in here.app.routes if isinstance(route, APIRoute)}

    assert sorted((path, row.method) for row in rows for path in row.paths) == sorted(routes)


async def test_the_document_has_the_first_path_of_each_row(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        document = here.app.openapi()
        rows: list[Route] = here.app.state.routes

    documented = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    assert documented == {(row.paths[0].replace(":path", ""), row.method) for row in rows if row.document}


async def test_81_every_route_but_the_open_ones_needs_a_key_for_every_method(embedder: ServedModel) -> None:
    async with in_process_server(embedder, auth=Auth(keys=("k",))) as here:
        paths = {route.path for route in here.app.routes if isinstance(route, StarletteRoute)}
        statuses = {
            (path, method): (await here.client.request(method, _address(path))).status_code
            for path in paths
            for method in METHODS
        }

    assert len(paths) > 25
    unlocked = {key for key, status in statuses.items() if status != 401}
    assert unlocked == {(path, method) for path in OPEN for method in ("GET", "HEAD")}


@pytest.mark.parametrize("path", ["//health", "/v1/health", "/v1//embeddings", "/v1/v1/models", "/docs//assets/x"])
async def test_81_a_repaired_path_needs_a_key(embedder: ServedModel, path: str) -> None:
    async with in_process_server(embedder, auth=Auth(keys=("k",))) as here:
        answers = [await here.client.request(method, f"http://hearth{path}") for method in METHODS]

    assert {answer.status_code for answer in answers} == {401}
