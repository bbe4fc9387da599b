"""The field rules of every route: null is absent, "true" is a boolean, 3.0 is an integer, "3" and true are not."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from server.errors import ApiError
from server.refusals import EmptyArray, InvalidJson, InvalidValue, MissingParameter

JsonObject = dict[str, Any]
Body = TypeVar("Body", bound=BaseModel)


class Fields(BaseModel):
    """A request body after the field rules; extra fields are kept out and named to the client."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, use_attribute_docstrings=True)


def _integer(value: object) -> object:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise PydanticCustomError("wire", "expected an integer.")
    return value


def _boolean(value: object) -> object:
    words = {"true": True, "false": False}
    found = words.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise PydanticCustomError("wire", "expected a boolean.")
    return found


# "true" and "false" in any case: JSON Schema's patterns have no flag for that.
_WORDS = "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"
_BOOLEAN: JsonObject = {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": _WORDS}]}
WireInt = Annotated[int, BeforeValidator(_integer, json_schema_input_type=int)]
WireBool = Annotated[bool, BeforeValidator(_boolean), WithJsonSchema(_BOOLEAN)]


def read_object(body: bytes) -> JsonObject:
    """A request body as a JSON object with nulls taken out.

    Raises: InvalidJson: not JSON, not UTF-8, NaN, a lone surrogate, or not an object.
    """
    try:
        # orjson refuses NaN, lone surrogates and trailing text, which Python's json lets through.
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"{error.msg} (line {error.lineno}, column {error.colno}).") from None
    if not isinstance(found, dict):
        raise InvalidJson("expected an object.")
    return {name: value for name, value in found.items() if value is not None}


def rename(body: JsonObject, aliases: Mapping[str, str]) -> JsonObject:
    """The body with each alias under its own field's name.

    Raises: InvalidValue: field and alias, or two aliases, differ.
    """
    found: JsonObject = {}
    for sent, value in body.items():
        name = aliases.get(sent, sent)
        if name in found and found[name] != value:
            raise InvalidValue(sent, f"differs from another name of '{name}'; send one of them.")
        found[name] = value
    return found


def spelling(body: Iterable[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """By field, the first of its aliases that was sent, unless it came under its own name: what errors call it."""
    sent = list(body)
    return {aliases[name]: name for name in reversed(sent) if name in aliases and aliases[name] not in sent}


def parse(fields: type[Body], body: JsonObject, spelt: Mapping[str, str] = MappingProxyType({})) -> Body:
    """The body as typed fields; `spelt` is what errors call those that came under another name.

    Raises: ApiError: the first thing that is wrong with it.
    """
    try:
        return fields.model_validate(body)
    except ValidationError as error:
        raise _api_error(error.errors(include_url=False)[0], spelt) from None


def ignored(body: Iterable[str], fields: type[BaseModel], *silent: Iterable[str]) -> list[str]:
    """Names that were sent and have no effect, in request order."""
    known = {*fields.model_fields, *(name for names in silent for name in names)}
    return [name for name in body if name not in known]


def _api_error(error: ErrorDetails, spelt: Mapping[str, str]) -> ApiError:
    where = _where(error["loc"], spelt)
    if error["type"] == "missing":
        return MissingParameter(where)
    if error["type"] == "too_short":
        return EmptyArray(where)
    return InvalidValue(where, _reason(error))


def _where(location: tuple[int | str, ...], spelt: Mapping[str, str]) -> str:
    # The first element is the field; a number is an index; what else follows is pydantic's own.
    name, *rest = location
    return spelt.get(str(name), str(name)) + "".join(f"[{part}]" for part in rest if isinstance(part, int))


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "greater_than_equal":
            return f"expected an integer ≥ {error['ctx']['ge']}."
        case "literal_error":
            return f"expected {error['ctx']['expected']}."
        case "string_type":
            return "expected a string."
        case "list_type" | "tuple_type":
            return "expected a list."
        case _:
            return f"{error['msg'].rstrip('.').lower()}." if error["type"] != "wire" else error["msg"]
