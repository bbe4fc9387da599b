"""The field rules of every route (docs/http-contract.md, Requests)."""

from typing import Any, Literal

import pytest
from pydantic import Field

from server.api.dialects.parsing import Fields, WireBool, WireInt, ignored_fields, parse, read_object, rename
from server.errors import ApiError, EmptyArray, InvalidJson, InvalidValue, MissingParameter


class Body(Fields):
    """A body with one field of each sort."""

    name: str
    count: WireInt | None = None
    flag: WireBool = False
    ids: list[WireInt] | None = None
    side: Literal["left", "right"] = "right"
    least: WireInt | None = Field(default=None, ge=1)
    some: list[str] | None = Field(default=None, min_length=1)


def _error(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse(Body, {"name": "n", **fields})
    return caught.value


@pytest.mark.parametrize(("sent", "read"), [(3, 3), (3.0, 3), (-1, -1), (0, 0), (1e3, 1000)])
def test_integers_may_be_written_as_whole_floats(sent: float, read: int) -> None:
    body = parse(Body, {"name": "n", "count": sent})

    assert (body.count, type(body.count)) == (read, int)


@pytest.mark.parametrize("sent", ["3", True, False, 3.5, [], {}, "", "3.0"])
def test_anything_else_is_no_integer(sent: object) -> None:
    assert _error(count=sent).message == "Invalid 'count': expected an integer."


@pytest.mark.parametrize(
    ("sent", "read"), [(True, True), (False, False), ("true", True), ("FALSE", False), ("True", True)]
)
def test_booleans_may_be_words(sent: object, read: bool) -> None:
    assert parse(Body, {"name": "n", "flag": sent}).flag is read


@pytest.mark.parametrize("sent", ["yes", "", 1, 0, 1.0, [], "truee"])
def test_anything_else_is_no_boolean(sent: object) -> None:
    assert _error(flag=sent).message == "Invalid 'flag': expected a boolean."


def test_a_bad_item_is_named_by_its_place() -> None:
    error = _error(ids=[1, 2, True])

    assert (error.message, error.param) == ("Invalid 'ids[2]': expected an integer.", "ids")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": 7}, "Invalid 'name': expected a string."),
        ({"ids": 7}, "Invalid 'ids': expected a list."),
        ({"ids": "12"}, "Invalid 'ids': expected a list."),
        ({"least": 0}, "Invalid 'least': expected an integer ≥ 1; got 0."),
    ],
)
def test_a_message_names_the_field_and_what_it_takes(fields: dict[str, object], message: str) -> None:
    error = _error(**fields)

    assert isinstance(error, InvalidValue)
    assert error.message == message


def test_a_message_names_the_choices() -> None:
    message = _error(side="up").message

    assert message.startswith("Invalid 'side': expected ")
    assert "'left'" in message
    assert "'right'" in message


def test_an_empty_list_has_an_error_of_its_own() -> None:
    assert isinstance(_error(some=[]), EmptyArray)


def test_a_missing_field_has_one_too() -> None:
    with pytest.raises(MissingParameter, match="Missing required parameter: 'name'"):
        parse(Body, {})


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"1",
        b"null",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xff"}',
        b"{} x",
        b"[" * 5000,
        b'{"a":1e999}',
        b"\xef\xbb\xbf{}",
        b'{"\\udc00":1}',
        b"{'a':1}",
        b'{"a":01}',
    ],
)
def test_70_what_is_no_json_object_is_invalid_json(sent: bytes) -> None:
    with pytest.raises(InvalidJson):
        read_object(sent)


def test_70_a_body_in_another_encoding_is_called_that() -> None:
    with pytest.raises(InvalidJson, match=r"it is not UTF-8 \(byte 6: 0xe9\); encode it as UTF-8"):
        read_object('{"a":"\u00e9"}'.encode("latin-1"))


def test_null_is_absent() -> None:
    assert read_object(b'{"a":null,"b":0,"c":"","d":[null]}') == {"b": 0, "c": "", "d": [None]}


def test_a_surrogate_pair_is_a_character() -> None:
    assert read_object(b'{"a":"\\ud83d\\ude42"}') == {"a": "🙂"}


@pytest.mark.parametrize(
    ("body", "renamed"),
    [({"k": 1}, {"n": 1}), ({"n": 1}, {"n": 1}), ({"k": 1, "n": 1}, {"n": 1}), ({"x": 1}, {"x": 1})],
)
def test_an_alias_becomes_the_field_itself(body: dict[str, int], renamed: dict[str, int]) -> None:
    assert rename(body, {"k": "n"}) == renamed


def test_an_alias_that_differs_from_the_field_is_refused() -> None:
    with pytest.raises(InvalidValue, match="'n': conflicts with another name of 'n'"):
        rename({"k": 1, "n": 2}, {"k": "n"})


def test_ignored_fields_keep_the_request_order() -> None:
    assert ignored_fields(["z", "name", "a", "silent"], Body, ["silent"]) == ["z", "a"]
