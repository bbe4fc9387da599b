"""docs/http-contract.md: its tables are those of the code, and each of its cases has a test."""

import re
from pathlib import Path

import pytest

from docs.generate.http_contract import PAGE, sections
from docs.generate.page import filled
from tests.contract.conformance import ELSEWHERE, LISTED, cases

TESTS = Path(__file__).parents[1]


def test_its_tables_are_those_of_the_code() -> None:
    page = PAGE.read_text("utf-8")

    assert filled(page, sections()) == page, "run: make docs"


def test_cases_are_numbered_without_a_gap() -> None:
    assert list(cases()) == list(range(1, len(cases()) + 1))


def test_every_case_has_a_test() -> None:
    sources = [file.read_text("utf-8") for file in TESTS.rglob("test_*.py") if "faults" not in file.parts]
    tested = {int(number) for source in sources for number in re.findall(r"def test_(\d\d)_", source)}

    assert set(cases()) <= tested | set(ELSEWHERE)


@pytest.mark.parametrize("test", sorted(LISTED))
def test_a_test_that_is_named_for_a_case_exists(test: str) -> None:
    file, name = test.split("::")

    assert re.search(rf"^(async )?def {name}\(", (TESTS.parent / file).read_text("utf-8"), re.MULTILINE)


def test_a_page_without_the_section_is_refused() -> None:
    with pytest.raises(ValueError, match="no section"):
        filled("# A page", {"routes": ""})
