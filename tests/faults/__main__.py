"""Every fault of docs/faults.md with its result: `python -m tests.faults`. It runs the tests that take long as well."""

import sys
import time
from collections import Counter

import pytest
from rich.console import Console
from rich.table import Table

from tests.faults.listed import TESTS, Fault, listed_faults


class Results:
    """A pytest plugin that counts the outcomes and the seconds of each test."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Counter[str]] = {}
        self.seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.split("[")[0].removeprefix(f"{TESTS.name}/")
        self.seconds[name] += report.duration  # type: ignore[assignment]
        if report.when == "call" or report.outcome != "passed":
            self.outcomes.setdefault(name, Counter())[report.outcome] += 1

    def verdict(self, fault: Fault) -> str:
        """What became of the tests of a fault."""
        outcomes = [self.outcomes.get(test, Counter(missing=1)) for test in fault.tests]
        total = sum(outcomes, Counter[str]())
        if total["failed"] or total["missing"]:
            return "red"
        return "green" if total["passed"] else "skipped"


def main() -> int:
    """Run the tests and print the table; 0 when no fault is red."""
    results, faults, started = Results(), listed_faults(), time.monotonic()
    tests = sorted({str(TESTS / test) for fault in faults for test in fault.tests})
    pytest.main(["-q", "--no-header", "-m", "not gpu", "-n", "2", "--dist", "loadfile", *tests], plugins=[results])
    table = Table("fault", "result", "seconds", "tests", title="Faults of docs/faults.md")
    for fault in faults:
        seconds = sum(results.seconds[test] for test in fault.tests)
        table.add_row(fault.name, results.verdict(fault), f"{seconds:.1f}", "\n".join(fault.tests))
    Console(width=200).print(table)
    red = [fault.name for fault in faults if results.verdict(fault) == "red"]
    told = f"{len(faults) - len(red)} of {len(faults)} faults are green, after {time.monotonic() - started:.0f} s."
    sys.stdout.write(f"{told} Red: {red or 'none'}\n")
    return int(bool(red))


if __name__ == "__main__":
    sys.exit(main())
