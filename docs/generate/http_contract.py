"""The generated sections of docs/http-contract.md, from the OpenAPI document and the table of errors.

`python -m docs.generate.http_contract` writes them anew; tests/docs/test_http_contract.py keeps them in step.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from docs.generate.page import DOCS, filled, table
from server.api.app import create_app
from server.api.openapi import GROUPS
from server.api.route_table import Route
from server.config import Config
from server.errors import ApiError
from server.observability.metrics import Metrics
from server.registry import ModelRegistry

PAGE = DOCS / "http-contract.md"

JsonObject = dict[str, Any]


def sections() -> dict[str, str]:
    """Each generated section of the page, by name."""
    # The document does not depend on which models are served.
    app = create_app(Config(), ModelRegistry([]), object(), Metrics())  # type: ignore[arg-type]
    document = app.openapi()
    operations = _operations(app.state.routes)
    return {
        "routes": _routes(operations),
        "fields": "\n\n".join(_fields(operations)),
        "errors": _errors(),
        "headers": _headers(document["components"]["headers"]),
    }


def _operations(routes: Iterable[Route]) -> list[tuple[Route, JsonObject]]:
    """Each documented row of the route table, with its OpenAPI operation, in the order of GROUPS."""
    operations = [(route, route.document) for route in routes if route.document]
    # The root last in its group: its bodies are those of other routes.
    return sorted(operations, key=lambda entry: (list(GROUPS).index(entry[1]["tags"][0]), _order(entry[0].paths[0])))


def _order(path: str) -> tuple[bool, str]:
    return path == "/", path


def _routes(operations: list[tuple[Route, JsonObject]]) -> str:
    rows = [
        (
            operation["tags"][0],
            f"`{route.method}`",
            ", ".join(f"`{path.replace(':path', '')}`" for path in route.paths),
            operation["summary"],
        )
        for route, operation in operations
    ]
    return table(("API", "method", "paths", "what it gives"), rows)


def _fields(operations: list[tuple[Route, JsonObject]]) -> Iterator[str]:
    shown: list[JsonObject] = []
    for route, operation in operations:
        if "requestBody" not in operation:
            continue
        for body in _bodies(operation["requestBody"]["content"]["application/json"]["schema"]):
            if route.paths[0] == "/" and body in shown:
                continue
            shown.append(body)
            heading = f"### {operation['tags'][0]}: `{route.method} {route.paths[0]}`"
            title = f"{heading}\n\n{body.get('description') or operation['summary']}"
            yield f"{title}\n\n{table(('field', 'type', 'default', 'meaning'), _rows(body))}"


def _bodies(schema: JsonObject) -> list[JsonObject]:
    """The bodies that a route takes: most take one, some take one of several."""
    if "properties" in schema:
        return [schema]
    return [body for option in schema.get("anyOf", ()) for body in _bodies(option)]


def _rows(body: JsonObject) -> list[tuple[str, ...]]:
    required = set(body.get("required", ())) | {
        name for part in body.get("allOf", ()) if len(part.get("required", ())) == 1 for name in part["required"]
    }
    return [
        (
            f"`{name}`",
            type_of(field),
            "required" if name in required else _default(field),
            field.get("description", ""),
        )
        for name, field in body["properties"].items()
    ]


def _default(field: JsonObject) -> str:
    value = field.get("default")
    return "" if value is None else f"`{value!r}`" if isinstance(value, str) else f"`{value}`".lower()


def type_of(schema: JsonObject) -> str:
    """A JSON Schema in a few words. A boolean may also be sent as text, which the rules of the page say once."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if "pattern" not in option and option.get("type") != "null"]
        return " or ".join(dict.fromkeys(map(type_of, options)))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    return ", ".join(kind) if isinstance(kind, list) else str(kind)


def _errors() -> str:
    rows = [
        (
            error.status,
            f"`{error.type}`",
            f"`{error.code}`" if error.code else "",
            f"`{error.fireworks_code}`" if error.fireworks_code else "",
            (error.__doc__ or "").split("\n\n")[0].strip().replace("\n    ", " "),
        )
        for error in sorted(_subclasses(ApiError), key=lambda error: error.status)
    ]
    columns = ("status", "`type`", "`code`, OpenAI", "`code`, Fireworks", "when")
    return table(columns, rows)


def _subclasses(error: type[ApiError]) -> Iterator[type[ApiError]]:
    for subclass in error.__subclasses__():
        # A class without a code that others refine is never raised itself.
        if subclass.code is not None or not subclass.__subclasses__():
            yield subclass
        yield from _subclasses(subclass)


def _headers(headers: JsonObject) -> str:
    return table(("header", "content"), [(f"`{name}`", header["description"]) for name, header in headers.items()])


def main() -> None:
    """Write the sections into the page."""
    PAGE.write_text(filled(PAGE.read_text("utf-8"), sections()), "utf-8")


if __name__ == "__main__":
    main()
