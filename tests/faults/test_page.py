"""docs/faults.md: each of its faults is injected by a test that exists."""

import re

import pytest

from tests.faults.listed import TESTS, Fault, listed_faults

FAULTS = listed_faults()


def test_it_lists_at_least_forty_faults() -> None:
    assert len(FAULTS) >= 40
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_has_a_test_that_exists(fault: Fault) -> None:
    assert fault.tests
    for test in fault.tests:
        file, name = test.split("::")
        assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text("utf-8"), re.MULTILINE), test
