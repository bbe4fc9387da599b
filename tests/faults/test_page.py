"""docs/faults.md: each of its faults is injected by a test that exists."""

import re

import pytest

from tests.faults.listed import TESTS, Fault, listed_faults

FAULTS = listed_faults()
# Their servers have a day without faults.
NO_FAULT = {
    "test_64_clients_with_a_text_each_need_a_quarter_as_many_batches",
    "test_a_query_after_2048_texts_is_answered_within_two_batches",
    "test_queries_beside_eight_bulk_clients_wait_three_batches_at_most",
    "test_probes_have_a_port_of_their_own",
    "test_two_workers_share_the_port_and_metrics_add_both_up",
}


def test_it_lists_at_least_forty_faults() -> None:
    assert len(FAULTS) >= 40
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_has_a_test_that_exists(fault: Fault) -> None:
    assert fault.tests
    for test in fault.tests:
        file, name = test.split("::")
        assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text("utf-8"), re.MULTILINE), test


def test_every_fault_that_is_injected_is_listed() -> None:
    files = [file for folder in ("clients", "processes") for file in (TESTS / "faults" / folder).glob("test_*.py")]
    tests = {
        f"{file.relative_to(TESTS)}::{name}"
        for file in files
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text("utf-8"), re.MULTILINE)
        if name not in NO_FAULT
    }

    assert tests - {test for fault in FAULTS for test in fault.tests} == set()
