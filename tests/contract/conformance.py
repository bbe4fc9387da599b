"""The cases of docs/http-contract.md with their tests and results: `python -m tests.contract.conformance`.

A test named test_NN_... belongs to case NN. Tests that have other names are listed here.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

PAGE = Path(__file__).parents[2] / "docs" / "http-contract.md"
NUMBERED = re.compile(r"::test_(\d\d)_")

DEVICE = "tests/faults/processes/test_device.py"
QUEUE = "tests/faults/clients/test_queue.py"
CLIENT = "tests/contract/applications/test_openai_client.py"
ELSEWHERE = {
    27: (f"{DEVICE}::test_a_row_with_nan_fails_only_its_request",),
    67: (
        f"{CLIENT}::test_09_the_default_call_gives_floats",
        f"{CLIENT}::test_54_rerank_through_the_same_client",
        f"{CLIENT}::test_36_logits_through_extra_body",
    ),
    75: (f"{QUEUE}::test_a_full_queue_refuses_before_it_tokenises",),
    76: ("tests/faults/processes/test_signals_and_crashes.py::test_sigterm_lets_100_requests_in_flight_be_answered",),
    68: ("tests/unit/models/backends/test_packed.py::test_a_score_is_the_same_alone_and_behind_a_shared_prefix",),
    77: (f"{QUEUE}::test_requests_of_clients_that_hang_up_while_they_wait_never_run",),
    78: (
        f"{QUEUE}::test_a_request_that_waited_too_long_is_answered_and_dropped",
        f"{DEVICE}::test_a_batch_that_does_not_fit_is_halved",
        f"{DEVICE}::test_an_input_that_fits_no_batch_fails_only_its_request",
    ),
}
LISTED = {name for names in ELSEWHERE.values() for name in names}
FOLDERS = ("tests/contract", "tests/faults", "tests/unit")
NOTES = {
    9: "openai-js: make clients",
    12: "nomic-embed-text-v1.5: the tests of that model",
    30: "needs cl100k_base's file in TIKTOKEN_CACHE_DIR",
    67: "openai-python here; the other clients: make clients",
    87: "over plain HTTP here; cohere: make clients",
}


def cases() -> dict[int, str]:
    """Number and sentence of each case of the page."""
    listed = PAGE.read_text("utf-8").split("\n## Cases\n")[1]
    return {int(number): sentence for number, sentence in re.findall(r"(?m)^(\d+)\. (.+)$", listed)}


class Results:
    """A pytest plugin that runs the tests of the cases alone and counts their outcomes."""

    def __init__(self) -> None:
        """Nothing has run yet."""
        self.outcomes: dict[str, Counter[str]] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        chosen = {item for item in items if _number(item.nodeid) or _name(item.nodeid) in LISTED}
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = [item for item in items if item in chosen]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes.setdefault(_name(report.nodeid), Counter())[report.outcome] += 1

    def of(self, case: int) -> dict[str, Counter[str]]:
        """The outcomes of a case's tests, by test."""
        named = {name: outcomes for name, outcomes in self.outcomes.items() if _number(name) == case}
        return named | {name: self.outcomes.get(name, Counter(missing=1)) for name in ELSEWHERE.get(case, ())}


def main() -> int:
    """Run the tests and print the table; 0 when every case has a test and none is red."""
    results = Results()
    pytest.main(["-q", "--no-header", "-m", "not gpu", *FOLDERS], plugins=[results])
    table = Table("case", "what holds", "tests", "result", "note", title="Cases of docs/http-contract.md")
    sentences = cases()
    verdicts = {case: _verdict(results.of(case)) for case in sentences}
    for case, verdict in verdicts.items():
        tests = "\n".join(name.removeprefix("tests/") for name in results.of(case)) or "none"
        table.add_row(str(case), sentences[case], tests, verdict, NOTES.get(case, ""))
    Console(width=200).print(table)
    bad = [case for case, verdict in verdicts.items() if verdict in ("red", "no test")]
    sys.stdout.write(f"{len(verdicts) - len(bad)} of {len(verdicts)} cases are green. Not green: {bad or 'none'}\n")
    return int(bool(bad))


def _name(nodeid: str) -> str:
    return nodeid.split("[")[0]


def _number(name: str) -> int | None:
    # In tests/faults a number in a name counts clients.
    match = None if name.startswith("tests/faults/") else NUMBERED.search(name)
    return int(match[1]) if match else None


def _verdict(tests: dict[str, Counter[str]]) -> str:
    total = sum(tests.values(), Counter())
    if not total:
        return "no test"
    if total["failed"] or total["missing"]:
        return "red"
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    return f"green: {total['passed']}{skipped}" if total["passed"] else "skipped"


if __name__ == "__main__":
    sys.exit(main())
