"""Every route, method, spelling of a path and kind of key: only the open paths answer without an accepted key."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.routing import Route as StarletteRoute

from server.api.auth import open_paths
from server.api.pages.page_routes import FILE_PATHS
from server.config import Auth
from server.registry import ServedModel
from tests.support.server.in_process import InProcessServer, in_process_server

KEY = "the-right-key"
METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS", "get")
# Paths of other servers, and of nobody.
FOREIGN = ("/nope", "/v1", "/metrics/x", "/redoc", "/docs/oauth2-redirect", "/.git/config", "/v1/chat/completions", "*")
WRONG_KEYS: dict[str, list[tuple[str, str]]] = {
    "none": [],
    "empty": [("authorization", ""), ("x-api-key", ""), ("api-key", "")],
    "empty bearer": [("authorization", "Bearer ")],
    "wrong": [("authorization", "Bearer wrong")],
    "beginning": [("authorization", f"Bearer {KEY[:-1]}")],
    "longer": [("x-api-key", f"{KEY}x")],
    "upper case": [("api-key", KEY.upper())],
    "no scheme": [("authorization", KEY)],
    "another scheme": [("authorization", f"Basic {KEY}")],
    "two in one": [("authorization", f"Bearer {KEY}, Bearer {KEY}")],
    "listed": [("x-api-key", f"wrong,{KEY}")],
    "another header": [("cookie", f"key={KEY}"), ("x-auth-token", KEY), ("proxy-authorization", f"Bearer {KEY}")],
    "another address": [("x-forwarded-for", "127.0.0.1"), ("x-original-url", "/health"), ("x-rewrite-url", "/health")],
    "another method": [("x-http-method-override", "GET")],
    "not text": [("authorization", "Bearer \xff\xfe\x00")],
    "huge": [("x-api-key", KEY * 1000)],
}
RIGHT_KEYS = [
    ("authorization", f"Bearer {KEY}"),
    ("authorization", f"bearer   {KEY}"),
    ("x-api-key", KEY),
    ("api-key", KEY),
]


def _spellings(path: str) -> Iterator[str]:
    """Ways to write a path, as they are sent."""
    yield from (path, f"{path}/", f"{path}//", f"/{path}", path.upper(), path.replace("/", "//"), f"/.{path}")
    yield from (path.replace("e", "%65", 1), path.replace("/", "%2f"), f"{path}%00", f"{path};a=b", f"{path}?x=/health")
    yield from (f"/health/..{path}", f"/health%2f..{path}", f"/health;{path}", f"/health?{path}", f"/health{path}")
    yield from (f"/docs/..{path}", f"/%2e{path}", f"//health{path}", f"http://x/health{path}", f"\\health{path}")
    for files in FILE_PATHS:
        yield from (f"{files}/..{path}", f"{files}/..%2f..{path}", f"{files}/%2e%2e/%2e%2e{path}")


def _paths(server: InProcessServer) -> list[str]:
    routes = [route.path for route in server.app.routes if isinstance(route, StarletteRoute)]
    return [*(path.replace("{model:path}", "embedder") for path in routes), *FOREIGN]


async def _status(server: InProcessServer, method: str, target: str, headers: list[tuple[str, str]]) -> int:
    """Call the application as uvicorn does: the path is decoded once, the query is cut off."""
    raw, _, query = target.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await server.app(scope, receive, send)  # type: ignore[arg-type]
    [status] = statuses
    return status


def _is_open(method: str, target: str, auth: Auth) -> bool:
    path = unquote(target.partition("?")[0])
    known = open_paths(auth)
    is_asset = auth.pages_open and path.rstrip("/").startswith(tuple(f"{files}/" for files in FILE_PATHS))
    return method in ("GET", "HEAD") and ((path.rstrip("/") or "/") in known or is_asset)


@pytest.mark.parametrize(
    "auth",
    [Auth(keys=(KEY,)), Auth(keys=(KEY,), pages_open=False), Auth(keys=(KEY,), metrics_open=True)],
    ids=["default", "pages closed", "metrics open"],
)
async def test_81_no_spelling_of_a_path_leads_around_the_key(embedder: ServedModel, auth: Auth) -> None:
    async with in_process_server(embedder, auth=auth) as server:
        targets = {spelling for path in _paths(server) for spelling in _spellings(path)}
        asked = [(method, target) for target in sorted(targets) for method in METHODS]
        statuses = {request: await _status(server, *request, []) for request in asked}

    assert len(asked) > 4000
    assert [request for request, status in statuses.items() if status != 401 and not _is_open(*request, auth)] == []
    assert [request for request, status in statuses.items() if status == 401 and _is_open(*request, auth)] == []


@pytest.mark.parametrize("headers", WRONG_KEYS.values(), ids=WRONG_KEYS)
async def test_81_no_kind_of_wrong_key_is_accepted(embedder: ServedModel, headers: list[tuple[str, str]]) -> None:
    auth = Auth(keys=(KEY,))
    async with in_process_server(embedder, auth=auth) as server:
        asked = [(method, path) for path in _paths(server) for method in METHODS if not _is_open(method, path, auth)]
        statuses = [await _status(server, *request, headers) for request in asked]

    assert set(statuses) == {401}


@pytest.mark.parametrize("header", RIGHT_KEYS, ids=lambda header: header[0])
async def test_82_a_right_key_is_accepted_on_every_route(embedder: ServedModel, header: tuple[str, str]) -> None:
    async with in_process_server(embedder, auth=Auth(keys=("another", KEY))) as server:
        asked = [(method, path) for path in _paths(server) for method in METHODS]
        statuses = [await _status(server, *request, [header]) for request in asked]

    assert 401 not in statuses
    assert max(statuses) < 500
