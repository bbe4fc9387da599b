"""docs/decisions.md: each has a number of its own."""

import re

from tests.support.docs import DOCS


def test_numbers_count_up() -> None:
    numbers = [int(n) for n in re.findall(r"^\| (\d+) \|", (DOCS / "decisions.md").read_text("utf-8"), re.MULTILINE)]

    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
