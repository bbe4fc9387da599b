"""Whether an answer is what /openapi.json says of its route: JSON Schema, as much of it as that document uses."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from server.api.app import create_app
from server.config import Config
from server.observability.metrics import Metrics
from server.registry import ModelRegistry

DOCUMENT_FILE = Path(__file__).parents[2] / "contract" / "openapi.json"
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
KEYWORDS = {
    "type",
    "const",
    "enum",
    "pattern",
    "minimum",
    "anyOf",
    "properties",
    "required",
    "additionalProperties",
} | {*("items", "minItems", "minProperties", "maxProperties", "format", "description", "default")}
# Pages for people are no part of the document.
PAGES = ("/docs", "/page/", "/openapi.json")


class Document:
    """The committed copy."""

    def __init__(self) -> None:
        """Read it."""
        self._document = json.loads(DOCUMENT_FILE.read_text("utf-8"))
        # The document does not depend on which models are served.
        self._app = create_app(Config(), ModelRegistry([]), object(), Metrics())  # type: ignore[arg-type]
        # Aliases are not in the document: they answer as the first path of their row.
        self._paths = [
            (_pattern(path), self._document["paths"][route.paths[0].replace(":path", "")])
            for route in self._app.state.routes
            for path in route.paths
            if route.document
        ]

    def check(self, answer: httpx.Response) -> None:
        """Assert that status, headers and body are documented; for a client's event hook."""
        answer.read()
        path = answer.request.url.path.rstrip("/") or "/"
        if answer.request.method in ("OPTIONS", "HEAD") or path == "/" or path.startswith(PAGES):
            return
        where = f"{answer.request.method} {path} {answer.status_code}: {answer.text[:300]}"
        found = self._resolved(self._response(path, answer))
        for name, header in found.get("headers", {}).items():
            self._check_header(name, self._resolved(header), answer, where)
        media = answer.headers.get("content-type", "").split(";")[0]
        assert media in found["content"], f"{media!r} is not documented for {where}"
        if media == "application/json":
            problems = list(self._problems(answer.json(), found["content"][media]["schema"], ""))
            assert not problems, f"{problems[0]} in {where}"

    def _response(self, path: str, answer: httpx.Response) -> dict[str, Any]:
        path = self._app.state.paths.resolve(path)
        for pattern, operations in self._paths:
            operation = operations.get(answer.request.method.lower())
            if operation and pattern.fullmatch(path):
                assert str(answer.status_code) in operation["responses"], f"undocumented: {path} {answer.status_code}"
                return dict(operation["responses"][str(answer.status_code)])
        # No such route, or not for this method.
        assert answer.status_code in (401, 403, 404, 405), f"undocumented: {path} {answer.status_code}"
        dialect = "Fireworks" if path.startswith("/inference/") else "OpenAI"
        return {"$ref": f"#/components/responses/{dialect}-{answer.status_code}"}

    def _check_header(self, name: str, header: dict[str, Any], answer: httpx.Response, where: str) -> None:
        value = answer.headers.get(name)
        assert value is not None or not header.get("required"), f"header {name} is missing in {where}"
        if value is not None and header["schema"]["type"] in ("integer", "number"):
            read = int if header["schema"]["type"] == "integer" else float
            read(value)

    def _resolved(self, found: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in found:
            part: Any = self._document
            for name in found["$ref"].removeprefix("#/").split("/"):
                part = part[name]
            found = part
        return found

    def _problems(self, value: Any, schema: dict[str, Any], place: str) -> Iterator[str]:
        unknown = set(schema) - KEYWORDS
        assert not unknown, f"this validator does not know: {unknown}"
        kinds = schema.get("type", [])
        allowed = [each for kind in ([kinds] if isinstance(kinds, str) else kinds) for each in TYPES[kind]]
        if allowed and type(value) not in allowed:
            yield f"{place} is of type {type(value).__name__}, not {kinds}"
        if "const" in schema and value != schema["const"]:
            yield f"{place} is not {schema['const']}"
        if "anyOf" in schema:
            tried = [list(self._problems(value, each, place)) for each in schema["anyOf"]]
            if all(tried):
                yield f"{place} fits none of {len(tried)}: {[each[0] for each in tried]}"
        if isinstance(value, dict):
            yield from self._object_problems(value, schema, place)
        if isinstance(value, list):
            yield from self._array_problems(value, schema, place)

    def _object_problems(self, value: dict[str, Any], schema: dict[str, Any], place: str) -> Iterator[str]:
        yield from (f"{place} lacks {name}" for name in schema.get("required", []) if name not in value)
        if not schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value)):
            yield f"{place} has {len(value)} properties"
        others = schema.get("additionalProperties", True)
        for name, each in value.items():
            if name in schema.get("properties", {}):
                yield from self._problems(each, schema["properties"][name], f"{place}.{name}")
            elif others is False:
                yield f"{place} has {name}, which is not documented"
            elif isinstance(others, dict):
                yield from self._problems(each, others, f"{place}.{name}")

    def _array_problems(self, value: list[Any], schema: dict[str, Any], place: str) -> Iterator[str]:
        items = schema.get("items", {})
        if len(value) < schema.get("minItems", 0):
            yield f"{place} has {len(value)} items"
        if items == {"type": "number"}:
            # Vectors: at once.
            yield from (f"{place} holds {kind}" for kind in set(map(type, value)) - {int, float})
            return
        for index, each in enumerate(value):
            yield from self._problems(each, items, f"{place}[{index}]")


def _pattern(path: str) -> re.Pattern[str]:
    # An id may hold slashes.
    return re.compile(re.sub(r"\\\{\w+(:path)?\\\}", ".+", re.escape(path)))
