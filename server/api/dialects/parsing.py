"""The field rules of every route: null is absent, "true" is a boolean, 3.0 is an integer, "3" and true are not."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from server.errors import ApiError, EmptyArray, InvalidJson, InvalidValue, MissingParameter
from server.processing.requests import TemplateVariables, Texts, TokenIds

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


EXPECTED = "expected a string, a list of strings, a list of token ids or a list of such lists."


def read_input(value: Any, *, has_template: bool = False, field: str = "input") -> Texts | TokenIds | TemplateVariables:
    """Tag `input` by its first element: a plain union would answer a bad body with four misleading errors.

    Raises: ApiError: empty, mixed, or of none of the four forms.
    """
    if isinstance(value, str):
        return Texts((value,), is_list=False, field=field)
    if not isinstance(value, dict | list):
        raise InvalidValue(field, EXPECTED)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise EmptyArray(field)
    if not isinstance(values[0], dict):
        return _read_list(values, field)
    _check_all(values, dict, "an object", field)
    if not has_template:
        raise InvalidValue(field, f"Objects in '{field}' need a prompt_template.")
    return TemplateVariables(tuple(values), isinstance(value, list), field)


def _read_list(values: list[Any], field: str) -> Texts | TokenIds:
    first = values[0]
    if isinstance(first, str):
        _check_all(values, str, "a string", field)
        return Texts(tuple(values), is_list=True, field=field)
    if isinstance(first, list):
        _check_all(values, list, "a list of token ids", field)
        lists = tuple(_ids(ids, f"{field}[{index}]") for index, ids in enumerate(values))
        return TokenIds(lists, is_list=True, field=field)
    if isinstance(first, bool) or not isinstance(first, (int, float)):
        raise InvalidValue(f"{field}[0]", EXPECTED)
    return TokenIds((_ids(values, field),), is_list=False, field=field)


def _check_all(values: Sequence[Any], kind: type, name: str, field: str) -> None:
    if set(map(type, values)) != {kind}:
        place = next(index for index, value in enumerate(values) if type(value) is not kind)
        raise InvalidValue(f"{field}[{place}]", f"expected {name}, as {field}[0] is.")


def _ids(values: list[Any], where: str) -> NDArray[np.int64]:
    # By type, not by value: numpy would take [1, true] for two integers.
    if not set(map(type, values)) <= {int} and not all(_is_integer(value) for value in values):
        place = next(index for index, value in enumerate(values) if not _is_integer(value))
        raise InvalidValue(f"{where}[{place}]", "expected a token id, which is an integer.")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        raise InvalidValue(where, "a token id is far outside every vocabulary.") from None


def _is_integer(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())
