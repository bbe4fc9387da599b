"""Bounds on JSON: what is counted, and what inside of strings is not."""

import gc
import json
import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from server.api.body.json_bounds import (
    COUNTED_AT_A_TIME,
    MAX_NESTING,
    OTHER_VALUES,
    JsonBounds,
    json_bounds,
    paused_collector,
)
from server.config import RequestLimits
from server.errors import InvalidJson

SMALL = JsonBounds(values=10, containers=8, depth=4)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"input":[' + b"1," * 11 + b"1]}", "it has more than 10 values; send fewer inputs in each request."),
        (b'{"input":[' + b"[]," * 7 + b"[]]}", "it has more than 8 arrays, objects and fields; send fewer"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(8)) + b"}", "it has more than 8 arrays, objects and fields"),
        (b"[[[[[]]]]]", "it is nested more than 4 levels deep."),
        (b'{"a":{"a":{"a":{"a":{}}}}}', "it is nested more than 4 levels deep."),
        # A closing bracket in a string is no way around the limit.
        (b'["]]]]",[["]]]]",[[[]]]]]', "it is nested more than 4 levels deep."),
        (rb'["\"]]]]\\",[[[[]]]]]', "it is nested more than 4 levels deep."),
    ],
)
def test_a_body_with_too_much_in_it_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidJson, match=reason):
        SMALL.check(body)


@pytest.mark.parametrize(
    "text",
    [",:[{" * 100, r"\"" * 100 + ",[{" * 100, '"' * 50 + ",[" * 100, "\\" * 101 + '",[{', "", 'a\\"[,' * 70],
)
def test_what_a_text_holds_does_not_count(text: str) -> None:
    SMALL.check(json.dumps({"input": [text, text]}).encode())


@pytest.mark.parametrize("shift", range(6))
def test_a_piece_may_end_inside_of_an_escape(shift: int) -> None:
    text = "x" * (COUNTED_AT_A_TIME - len('{"input":["') - shift) + '\\"\\\\"' + ",[{" * 100
    SMALL.check(json.dumps({"input": [text]}).encode())


def _nodes(value: Any) -> Iterator[tuple[int, int]]:
    """For each container its depth, and its number of values."""
    stack = [(value, 1)]
    while stack:
        node, depth = stack.pop()
        if isinstance(node, dict | list):
            yield depth, len(node)
            stack += [(child, depth + 1) for child in (node.values() if isinstance(node, dict) else node)]


def _value(random_: random.Random, depth: int) -> Any:
    kind = random_.randrange(6 if depth else 2)
    if kind < 2:
        return random_.choice([1, "a,b", '"[{', "\\", '\\"', ":", None])
    if kind < 4:
        return [_value(random_, depth - 1) for _ in range(random_.randrange(5))]
    return {f'{i}"[,': _value(random_, depth - 1) for i in range(random_.randrange(5))}


@pytest.mark.parametrize("seed", range(20))
def test_the_counts_are_those_of_the_parsed_value(seed: int) -> None:
    value = {"x": [_value(random.Random(seed), 6) for _ in range(5)]}
    body, nodes = orjson.dumps(value), list(_nodes(value))
    exact = JsonBounds(
        values=sum(max(size - 1, 0) for _, size in nodes),
        containers=len(nodes) + sum(_fields_of(value)),
        depth=max(depth for depth, _ in nodes),
    )

    exact.check(body)
    for name in ("values", "containers", "depth"):
        changed = {field: getattr(exact, field) - (field == name) for field in ("values", "containers", "depth")}
        with pytest.raises(InvalidJson):
            JsonBounds(**changed).check(body)


def _fields_of(value: Any) -> Iterator[int]:
    if isinstance(value, dict):
        yield len(value)
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _fields_of(child)


def test_a_request_may_hold_as_many_token_ids_as_tokens() -> None:
    bounds = json_bounds(RequestLimits(request_tokens=300_000))
    bounds.check(b'{"input":[' + b"1," * 300_000 + b"1]}")

    with pytest.raises(InvalidJson, match=f"more than {300_000 + OTHER_VALUES} values"):
        bounds.check(b'{"input":[' + b"1," * 400_001 + b"1]}")


def test_the_depth_is_one_that_python_compares() -> None:
    nested = orjson.loads(b"[" * MAX_NESTING + b"]" * MAX_NESTING)

    assert nested == orjson.loads(orjson.dumps(nested))


def test_the_collector_runs_again_when_the_last_pause_ends() -> None:
    with paused_collector():
        with paused_collector():
            assert not gc.isenabled()
        assert not gc.isenabled()

    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with paused_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
