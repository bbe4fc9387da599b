"""Real client packages, unmodified, against a live server: `python -m tests.contract.clients [family ...]`.

A family is a folder here: a lock file (requirements.txt, or package.json with package-lock.json), and a program, run.py
or run.mjs, that proves its clients cell by cell (report.py). Each has an environment of its own in .clients/. When all
families ran, docs/compatibility.md is written.
"""

import subprocess
import sys

from rich.console import Console

from tests.contract.clients.environments import make_environment
from tests.contract.clients.families import Family, find_families
from tests.contract.clients.page import write_page
from tests.contract.clients.report import Report, judge
from tests.contract.clients.stage import Stage, running_stage
from tests.contract.clients.table import draw


def main(*names: str) -> int:
    """Prove the families that are named, by default all; 0 when no cell is red."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    families = find_families()
    if unknown := set(names) - set(families):
        console.print(f"no such family: {', '.join(sorted(unknown))}. There are: {', '.join(families)}")
        return 2
    chosen = [families[name] for name in names or families]
    problems = {family.name: _make(family, console) for family in chosen}
    with running_stage() as stage:
        reports = [_prove(family, stage, problems[family.name], console) for family in chosen]
    console.print(draw(reports))
    if not names:
        write_page(reports)
    red = [each for report in reports for each in report.red]
    console.print("\n".join(["Red:", *red]) if red else "No cell is red.", markup=False)
    return int(bool(red))


def _make(family: Family, console: Console) -> str:
    try:
        make_environment(family, console)
    except subprocess.SubprocessError as error:
        return f"its environment could not be made: {error}"
    return ""


def _prove(family: Family, stage: Stage, problem: str, console: Console) -> Report:
    if problem:
        return Report(family.name, [], problem)
    try:
        with console.status(f"{family.name}: runs"):
            report = judge(family.name, stage.run(family))
    except subprocess.SubprocessError as error:
        report = Report(family.name, [], str(error))
    console.print(f"{family.name}: {report.summary}", markup=False)
    return report


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
