"""The faults of docs/faults.md, each with the tests that inject it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
TEST = re.compile(r"`([\w/]+\.py::\w+)`")


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of a table; `tests` are node ids below tests/."""

    name: str
    tests: tuple[str, ...]


def listed_faults() -> list[Fault]:
    """Every fault of the page, in its order."""
    return list(_rows(PAGE.read_text("utf-8")))


def _rows(page: str) -> Iterator[Fault]:
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if line.startswith("| ") and cells[0] != "fault":
            yield Fault(cells[0], tuple(TEST.findall(cells[-1])))
