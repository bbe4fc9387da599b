"""The X-Hearth headers."""

import pytest

from server.api.dialects.protocol import hearth_headers


def test_nothing_to_say_is_no_header() -> None:
    assert hearth_headers([], 0, framed=None, token_ids=None) == {}


def test_zero_framed_is_something_to_say() -> None:
    assert hearth_headers([], 0, framed=0) == {"X-Hearth-Framed": "0"}


@pytest.mark.parametrize(
    ("names", "header"),
    [
        (["foo", "a.b-c_1"], "foo,a.b-c_1"),
        (["a\r\nSet-Cookie: x"], "?"),
        (["", "é", "a b", "a,b", "x" * 65, "ok"], "?,?,?,?,?,ok"),
        ([str(n) for n in range(20)], ",".join(map(str, range(20)))),
        ([str(n) for n in range(21)], ",".join(map(str, range(20))) + ",...+1"),
    ],
)
def test_14_names_of_ignored_fields_cannot_end_the_header(names: list[str], header: str) -> None:
    assert hearth_headers(names, 0) == {"X-Hearth-Ignored-Fields": header}
