"""Field rules of every route: null is absent, "true" is a boolean, 3.0 is an integer, but "3" and true are not."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from models import Side
from server.api.fields.unsupported import Operation, refuse_unsupported, unsupported_names
from server.errors import ApiError, EmptyArray, InvalidJson, InvalidValue, MissingParameter
from server.processing.requests import TemplateVariables, Texts, TokenIds, Truncation
from server.serialization import JsonObject

Body = TypeVar("Body", bound="Fields")


class Fields(BaseModel):
    """Base of all request bodies. Unknown fields are left out; ignored_fields() names them to the client."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, use_attribute_docstrings=True)
    # Which rows of the table of unsupported fields matter to the route.
    operation: ClassVar[Operation] = "tokens"


def _integer(value: object) -> object:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise PydanticCustomError("wire", "expected an integer.")
    return value


def _boolean(value: object) -> object:
    words = {"true": True, "false": False}
    flag = words.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        raise PydanticCustomError("wire", "expected a boolean.")
    return flag


def _truncate(value: object) -> object:
    word = value.upper() if isinstance(value, str) else ""
    if word in ("NONE", "START", "END"):
        return word
    try:
        return _boolean(value)
    except PydanticCustomError:
        raise PydanticCustomError("wire", "expected a boolean, or NONE, START or END.") from None


def _single(value: object) -> object:
    # Jina and Cohere take a list of forms; an empty one asks for nothing.
    return next(iter(value), None) if isinstance(value, list) and len(value) < 2 else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _side(value: object) -> object:
    # TEI writes Left and Right.
    return value.lower() if isinstance(value, str) else value


# "true" and "false" in any case: JSON Schema's patterns have no flag for that.
_WORDS = "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$"
_BOOLEAN: JsonObject = {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": _WORDS}]}
_SIDES: Mapping[str, Side] = {"START": "left", "END": "right"}
# NONE, START and END are NVIDIA NIM's and Cohere's.
_TRUNCATE = "^([Nn][Oo][Nn][Ee]|[Ss][Tt][Aa][Rr][Tt]|[Ee][Nn][Dd])$"
WireInt = Annotated[int, BeforeValidator(_integer, json_schema_input_type=int)]
WireBool = Annotated[bool, BeforeValidator(_boolean), WithJsonSchema(_BOOLEAN)]
Single = BeforeValidator(_single)
Listed = BeforeValidator(_listed)
WireSide = Annotated[Side, BeforeValidator(_side, json_schema_input_type=Side)]
WireTruncate = Annotated[
    bool | Literal["NONE", "START", "END"],
    BeforeValidator(_truncate),
    WithJsonSchema({"anyOf": [*_BOOLEAN["anyOf"], {"type": "string", "pattern": _TRUNCATE}]}),
]


def read_object(body: bytes) -> JsonObject:
    """A request body as a JSON object, without the fields that are null.

    Raises: InvalidJson: not JSON, not UTF-8, NaN, a lone surrogate, or not an object.
    """
    try:
        # orjson refuses NaN, lone surrogates and trailing text, which Python's json accepts.
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _check_utf8(body)
        raise InvalidJson(f"{error.msg} (line {error.lineno}, column {error.colno}).") from None
    if not isinstance(value, dict):
        raise InvalidJson("expected an object.")
    return {name: field for name, field in value.items() if field is not None}


def _check_utf8(body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 (byte {error.start}: 0x{body[error.start]:02x}); encode it as UTF-8."
        raise InvalidJson(reason) from None


def rename(body: JsonObject, aliases: Mapping[str, str]) -> JsonObject:
    """The body with each alias replaced by the name of its field.

    Raises: InvalidValue: the same field was sent under two names with different values.
    """
    renamed: JsonObject = {}
    for sent_name, value in body.items():
        name = aliases.get(sent_name, sent_name)
        if name in renamed and renamed[name] != value:
            raise InvalidValue(sent_name, f"conflicts with another name of '{name}'; send only one of them.")
        renamed[name] = value
    return renamed


def names_as_sent(body: Iterable[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """For each field that was sent under aliases only, the first alias: errors use the name that the client used."""
    sent = list(body)
    return {aliases[name]: name for name in reversed(sent) if name in aliases and aliases[name] not in sent}


def parse(fields: type[Body], body: JsonObject, as_sent: Mapping[str, str] = MappingProxyType({})) -> Body:
    """The body as typed fields; `as_sent` comes from names_as_sent().

    Raises: ApiError: the first thing that is wrong with the body.
    """
    refuse_unsupported(body, fields.model_fields, fields.operation)
    try:
        return fields.model_validate(body)
    except ValidationError as error:
        raise _api_error(error.errors(include_url=False)[0], as_sent) from None


def ignored_fields(body: Iterable[str], fields: type[Fields], *silent: Iterable[str]) -> list[str]:
    """Names of fields that were sent without effect, in request order; `silent` ones are not reported."""
    # Of unsupported fields, parse() lets only values through that ask for nothing.
    known = {*fields.model_fields, *unsupported_names(fields.operation), *(name for names in silent for name in names)}
    return [name for name in body if name not in known]


def prompt_for(purpose: str) -> str:
    """The named prompt for a purpose, as its API names it: search_query, passage, retrieval.query, RETRIEVAL_QUERY."""
    name = purpose.rpartition(".")[2].lower().removeprefix("search_").removeprefix("retrieval_")
    if name in ("query", "document", "passage"):
        return "query" if name == "query" else "document"
    return purpose


def prompt_limit(tokens: int | None) -> int | None:
    """`truncate_prompt_tokens` as a limit; None means the model's maximum.

    Raises: InvalidValue.
    """
    if tokens is not None and (tokens == 0 or tokens < -1):
        reason = f"expected an integer ≥ 1, or -1 for the model's maximum; got {tokens}."
        raise InvalidValue("truncate_prompt_tokens", reason)
    return None if tokens == -1 else tokens


def truncation_of(
    truncate: bool | str | None, side: Side | None, side_field: str = "", *, max_tokens: int | None = None
) -> Truncation:
    """`truncate` in all its forms, with the `side` that the client sent in `side_field`, as a rule for cutting.

    A limit of `max_tokens` asks for a cut.

    Raises: InvalidValue: the two name different sides.
    """
    named = _SIDES.get(str(truncate))
    if named and side and named != side:
        raise InvalidValue(side_field, f"'{side}' contradicts 'truncate': \"{truncate}\"; send only one of them.")
    allowed = truncate != "NONE" if isinstance(truncate, str) else truncate
    return Truncation(allowed if max_tokens is None else True, max_tokens, named or side or "right")


def _api_error(error: ErrorDetails, as_sent: Mapping[str, str]) -> ApiError:
    where = _where(error["loc"], as_sent)
    if error["type"] == "missing":
        return MissingParameter(where)
    if error["type"] == "too_short":
        return EmptyArray(where)
    return InvalidValue(where, _reason(error))


def _where(location: tuple[int | str, ...], as_sent: Mapping[str, str]) -> str:
    # The first element is the field, and numbers are indexes; pydantic adds names of its own types.
    name, *rest = location
    return as_sent.get(str(name), str(name)) + "".join(f"[{part}]" for part in rest if isinstance(part, int))


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "greater_than_equal":
            return f"expected an integer ≥ {error['ctx']['ge']}; got {error['input']}."
        case "literal_error":
            return f"expected {error['ctx']['expected']}."
        case "string_type":
            return "expected a string."
        case "list_type" | "tuple_type":
            return "expected a list."
        case _:
            return f"{error['msg'].rstrip('.').lower()}." if error["type"] != "wire" else error["msg"]


_INPUT_FORMS = "expected a string, a list of strings, a list of token ids, or a list of lists of token ids."


def read_input(value: Any, *, has_template: bool = False, field: str = "input") -> Texts | TokenIds | TemplateVariables:
    """The inputs in the form that the first element has: a plain union would report one error for each form.

    Raises: ApiError: empty, mixed, or in none of the forms.
    """
    if isinstance(value, str):
        return Texts((value,), is_list=False, field=field)
    if not isinstance(value, dict | list):
        raise InvalidValue(field, _INPUT_FORMS)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise EmptyArray(field)
    if not isinstance(values[0], dict):
        return _read_list(values, field)
    _check_all(values, dict, "an object", field)
    if not has_template:
        raise InvalidValue(field, "objects require 'prompt_template'.")
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
        raise InvalidValue(f"{field}[0]", _INPUT_FORMS)
    return TokenIds((_ids(values, field),), is_list=False, field=field)


def _check_all(values: Sequence[Any], kind: type, name: str, field: str) -> None:
    if set(map(type, values)) != {kind}:
        index = next(index for index, value in enumerate(values) if type(value) is not kind)
        raise InvalidValue(f"{field}[{index}]", f"expected {name}, like {field}[0].")


def _ids(values: list[Any], where: str) -> NDArray[np.int64]:
    # By type, not by value: numpy would accept [1, true] as two integers.
    if not set(map(type, values)) <= {int} and not all(_is_integer(value) for value in values):
        index = next(index for index, value in enumerate(values) if not _is_integer(value))
        raise InvalidValue(f"{where}[{index}]", "expected a token id, which is an integer.")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        raise InvalidValue(where, "a token id does not fit in 64 bits.") from None


def _is_integer(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())
