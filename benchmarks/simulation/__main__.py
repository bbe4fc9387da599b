"""Scheduling rules compared in virtual time: the server's real take_batch against other rules, on modelled devices.

    python -m benchmarks.simulation [--seed 0] [--recorded FILE] [--out benchmarks/results/simulation.md]

The same seed gives the same table.
"""

import argparse
from pathlib import Path

from benchmarks.simulation.arrivals import recorded
from benchmarks.simulation.figures import rows
from benchmarks.simulation.scenarios import Scenario, compare, heading, scenarios
from benchmarks.simulation.virtual import CPU, GPU
from benchmarks.support.report import RESULTS, markdown, show, write

NOTES = """\
Fill is the tokens of a batch divided by the token budget. Idle is the share of time in which the device computed
nothing although requests waited or a batch was being prepared. "In batches" counts the batches that ended while a
query waited, its own included. Slowdown is the time in the system divided by the time alone on an idle device;
fairness is Jain's index over 1 / slowdown of all answered requests. A CPU-like device prepares no batch while it
computes one, so that its three binding moments are the same. Every rule runs on the same device, which computes
shared prefixes once: "TEI's rule" and "vLLM's rule" are copies of those rules, not those servers.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Scheduling rules compared in virtual time.")
    parser.add_argument("--seed", type=int, default=0, help="seed of the synthetic arrivals")
    parser.add_argument("--recorded", type=Path, help="a file of recorded arrivals, used instead of the synthetic ones")
    parser.add_argument("--out", type=Path, default=RESULTS / "simulation.md", help="the page to write")
    options = parser.parse_args()
    page = [f"# Scheduling rules in virtual time\n\n`python -m benchmarks.simulation --seed {options.seed}`\n\n{NOTES}"]
    for scenario in _from_file(options.recorded) if options.recorded else scenarios(options.seed):
        table = rows(compare(scenario))
        show(heading(scenario), table)
        page.append(markdown(heading(scenario), table))
    write(options.out, *page)


def _from_file(file: Path) -> list[Scenario]:
    return [Scenario(file.name, device, recorded(file)) for device in (GPU, CPU)]


if __name__ == "__main__":
    main()
