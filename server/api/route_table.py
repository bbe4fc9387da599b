"""A row of the route table: one operation and every path that leads to it."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from server.serialization import JsonObject

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """FastAPI's routes, the OpenAPI document and the tables of docs/http-contract.md are made from these."""

    method: Literal["GET", "POST"]
    # The first one is documented; the others are its aliases.
    paths: tuple[str, ...]
    handler: Handler
    # The OpenAPI operation; None for a page for people.
    document: JsonObject | None
    response_class: type[Response] = JSONResponse
    # Whether it runs a model, so that full queues refuse it.
    runs_models: bool = False


class PlainRoute(APIRoute):
    """A route that FastAPI only documents: it skips FastAPI's own parsing and serialisation."""

    def __init__(self, path: str, endpoint: Handler, **options: Any) -> None:
        super().__init__(path, endpoint, **options)

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

        self.app = answer


def add_routes(router: APIRouter, routes: Iterable[Route]) -> None:
    """Add every path of every row. The router must make PlainRoutes."""
    for route in routes:
        for path in route.paths:
            router.add_api_route(
                path,
                route.handler,
                methods=[route.method],
                name=path,
                openapi_extra=route.document,
                include_in_schema=route.document is not None and path == route.paths[0],
                response_class=route.response_class,
            )
