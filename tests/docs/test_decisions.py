"""docs/decisions.md: numbers that code can cite, and every decision with its date, status and reasons."""

import re
from datetime import date

import pytest

from tests.support.docs import DOCS

HEADING = re.compile(r"^## (\d+)\. (.+)$", re.MULTILINE)
PAGE = (DOCS / "decisions.md").read_text("utf-8")
HEADINGS = HEADING.findall(PAGE)
DECISIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]


def test_numbers_count_up() -> None:
    assert [int(number) for number, _ in HEADINGS] == list(range(1, len(DECISIONS) + 1))


def test_dates_count_up_to_the_newest() -> None:
    dates = [date.fromisoformat(text) for text in re.findall(r"^Date: ([\d-]+)\.", PAGE, re.MULTILINE)]

    assert len(dates) == len(DECISIONS)
    assert max(dates) == dates[-1]


@pytest.mark.parametrize("decision", DECISIONS, ids=[number for number, _ in HEADINGS])
def test_a_decision_has_a_status_and_three_parts(decision: str) -> None:
    status = re.search(r"^Date: [\d-]+\. Status: (?:accepted|superseded by (\d+))\.$", decision, re.MULTILINE)

    assert status
    assert int(status[1] or 1) <= len(DECISIONS)
    assert re.findall(r"^\*\*(\w+)\.\*\* \S", decision, re.MULTILINE) == ["Context", "Decision", "Consequences"]
