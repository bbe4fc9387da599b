"""The forms of `input`: one or several strings, lists of token ids, or objects. The first element says which."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from server.calls import IdLists, Objects, Texts
from server.refusals import EmptyArray, InvalidValue

JsonObject: TypeAlias = dict[str, Any]
EXPECTED = "expected a string, a list of strings, a list of token ids or a list of such lists."


def read_input(value: Any, *, has_template: bool = False, field: str = "input") -> Texts | IdLists | Objects:
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
    return Objects(tuple(values), isinstance(value, list), field)


def _read_list(values: list[Any], field: str) -> Texts | IdLists:
    first = values[0]
    if isinstance(first, str):
        _check_all(values, str, "a string", field)
        return Texts(tuple(values), is_list=True, field=field)
    if isinstance(first, list):
        _check_all(values, list, "a list of token ids", field)
        lists = tuple(_ids(ids, f"{field}[{index}]") for index, ids in enumerate(values))
        return IdLists(lists, is_list=True, field=field)
    if isinstance(first, bool) or not isinstance(first, (int, float)):
        raise InvalidValue(f"{field}[0]", EXPECTED)
    return IdLists((_ids(values, field),), is_list=False, field=field)


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
