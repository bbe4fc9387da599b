"""Bounds on JSON, checked on its bytes: a parser holds the interpreter's lock until it has made every object."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.config import RequestLimits
from server.errors import InvalidJson

# Clients nest a handful of levels. orjson stops at 1,024, but Python's own comparison of two such values fails before.
MAX_NESTING = 100
# Arrays, objects and fields of objects: 2,048 objects of 100 fields. A million of them take a second to parse.
MAX_CONTAINERS = 250_000
# What a body may hold beside the token ids of its inputs.
OTHER_VALUES = 100_000
# Bytes are counted in pieces that stay in a processor's cache.
COUNTED_AT_A_TIME = 256 * 1024

_DEPTH_CHANGES = np.zeros(256, dtype=np.int32)
_DEPTH_CHANGES[list(b"[{")] = 1
_DEPTH_CHANGES[list(b"]}")] = -1
_QUOTE, _COMMA, _COLON = b'",:'
_UNCOUNTED = bytes(set(range(256)) - set(b'[]{}",:'))


@dataclass(frozen=True, slots=True)
class JsonBounds:
    """How many values and containers a body may have, and how deep they may be nested."""

    values: int
    containers: int = MAX_CONTAINERS
    depth: int = MAX_NESTING

    def check(self, body: bytes) -> None:
        """Refuse a body that has too much in it. Commas and brackets inside of strings do not count.

        Raises: InvalidJson.
        """
        # A short body cannot hold too many values. Most bodies have few brackets, even with those in their texts.
        if len(body) <= min(self.values, self.containers) and _brackets(body) <= self.depth:
            return
        values, containers = body.count(b","), _brackets(body) + body.count(b":")
        if values > self.values or containers > self.containers or _brackets(body) > self.depth:
            self._check_exactly(body)

    def _check_exactly(self, body: bytes) -> None:
        values = containers = depth = 0
        for piece in _outside_of_strings(body):
            changes = _DEPTH_CHANGES[piece]
            values += int(np.count_nonzero(piece == _COMMA))
            containers += int(np.count_nonzero(changes > 0)) + int(np.count_nonzero(piece == _COLON))
            depths = depth + np.cumsum(changes)
            if len(depths) and depths.max() > self.depth:
                raise InvalidJson(f"it is nested more than {self.depth} levels deep.")
            depth = int(depths[-1]) if len(depths) else depth
            if values > self.values:
                raise InvalidJson(f"it has more than {self.values} values; send fewer inputs in each request.")
            if containers > self.containers:
                reason = f"it has more than {self.containers} arrays, objects and fields"
                raise InvalidJson(f"{reason}; send fewer inputs in each request.")


def json_bounds(limits: RequestLimits) -> JsonBounds:
    """The bounds of every body: it may hold as many token ids as a request may have tokens."""
    return JsonBounds(limits.request_tokens + OTHER_VALUES)


@contextmanager
def paused_collector() -> Iterator[None]:
    """Keep the garbage collector from walking again and again through what a parser makes. Any thread."""
    _PAUSE.begin()
    try:
        yield
    finally:
        _PAUSE.end()


class _Pause:
    """The collector belongs to the process, so what pauses it does too. It runs again when the last pause ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pauses = 0
        self._was_enabled = False

    def begin(self) -> None:
        with self._lock:
            if self._pauses == 0:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._pauses += 1

    def end(self) -> None:
        with self._lock:
            self._pauses -= 1
            if self._pauses == 0 and self._was_enabled:
                gc.enable()


_PAUSE = _Pause()


def _brackets(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _outside_of_strings(body: bytes) -> Iterator[NDArray[np.uint8]]:
    start, in_string = 0, 0
    while start < len(body):
        piece = body[start : start + COUNTED_AT_A_TIME]
        if start + len(piece) < len(body) and (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = piece[:-1]  # the backslash belongs to the character after it
        start += len(piece)
        if b"\\" in piece:
            piece = piece.replace(rb"\\", b"").replace(rb"\"", b"")
        array = np.frombuffer(piece.translate(None, _UNCOUNTED), dtype=np.uint8)
        # Odd after an opening quote; a sum of bytes keeps its last bit when it overflows.
        quotes = np.cumsum(array == _QUOTE, dtype=np.uint8) + np.uint8(in_string)
        yield array[quotes & 1 == 0]
        in_string = int(quotes[-1]) & 1 if len(quotes) else in_string
