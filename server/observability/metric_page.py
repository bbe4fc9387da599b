"""The numbers of one process's metrics, in memory that other processes read. It knows nothing of Prometheus.

An entry is its key's length, its number of values, the key padded to 8 bytes, and the values as doubles. Entries are
only ever added, so a reader needs no lock.
"""

import json
import struct
import threading
from collections.abc import Iterator
from typing import TypeAlias

# A histogram of 20 numbers takes about 250 bytes, and there are a few dozen routes.
PAGE_BYTES = 2**20
_USED = struct.Struct("=Q")
_ENTRY = struct.Struct("=II")
_DOUBLE_BYTES = 8

MetricKey = tuple[str, ...]
Values: TypeAlias = "memoryview[float]"


class MetricPage:
    """Entries by key: a metric's name and the values of its labels. One process writes, from any thread."""

    def __init__(self, memory: memoryview) -> None:
        """Use `memory`, which is zero or has the entries of a process before, and goes on with them."""
        self._memory = memory
        self._lock = threading.Lock()
        self._entries = dict(self.entries())

    def values(self, key: MetricKey, count: int) -> Values:
        """The values of an entry. It is added with zeros if there is none, and is private if the page is full."""
        with self._lock:
            if key not in self._entries:
                self._entries[key] = self._add(key, count)
            return self._entries[key]

    def entries(self) -> Iterator[tuple[MetricKey, Values]]:
        """All entries, those of a writer in another process too."""
        place, (used,) = _USED.size, _USED.unpack_from(self._memory)
        while place < used:
            key_bytes, count = _ENTRY.unpack_from(self._memory, place)
            start = place + _ENTRY.size
            place = start + _padded(key_bytes) + count * _DOUBLE_BYTES
            key = json.loads(bytes(self._memory[start : start + key_bytes]))
            yield tuple(key), self._memory[start + _padded(key_bytes) : place].cast("d")

    def _add(self, key: MetricKey, count: int) -> Values:
        (used,) = _USED.unpack_from(self._memory)
        place, content = used or _USED.size, json.dumps(key).encode()
        start = place + _ENTRY.size + _padded(len(content))
        end = start + count * _DOUBLE_BYTES
        if end > len(self._memory):
            return memoryview(bytearray(count * _DOUBLE_BYTES)).cast("d")
        _ENTRY.pack_into(self._memory, place, len(content), count)
        self._memory[place + _ENTRY.size : place + _ENTRY.size + len(content)] = content
        # Last, so that a reader sees whole entries alone.
        _USED.pack_into(self._memory, 0, end)
        return self._memory[start:end].cast("d")


def _padded(length: int) -> int:
    return -(-length // _DOUBLE_BYTES) * _DOUBLE_BYTES
