"""What a family's program says: one JSON line per client and cell, and nothing left out.

    {"client": "openai-python 3.52.0", "cell": "embed", "ok": true, "note": "..."}

`ok` is null where a cell does not apply; the note then says why. A client that leaves a cell out is red there.
"""

import json
from collections import Counter
from dataclasses import dataclass
from subprocess import CompletedProcess

CELLS = (
    "embed",
    "batch",
    "base64",
    "dimensions",
    "token_ids",
    "rerank",
    "rerank_texts",
    "errors",
    "retry",
    "timeout",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """What came of one thing that one client was made to do."""

    client: str
    cell: str
    ok: bool | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """A family's cells, and what else went wrong."""

    family: str
    cells: list[Cell]
    problem: str = ""

    @property
    def clients(self) -> list[str]:
        """In the order in which they ran."""
        return list(dict.fromkeys(cell.client for cell in self.cells))

    @property
    def summary(self) -> str:
        """How many cells are green, red, or do not apply."""
        count = Counter(cell.ok for cell in self.cells)
        said = f"{count[True]} green, {count[False]} red, {count[None]} not applicable"
        return f"{said}; {self.problem}" if self.problem else said

    @property
    def red(self) -> list[str]:
        """Every cell that is, and what else went wrong."""
        cells = [f"{cell.client}, {cell.cell}: {cell.note}" for cell in self.cells if cell.ok is False]
        return cells + ([f"{self.family}: {self.problem}"] if self.problem else [])

    def find(self, client: str, cell: str) -> Cell:
        """The one cell."""
        return next(each for each in self.cells if (each.client, each.cell) == (client, cell))


def judge(family: str, ran: CompletedProcess[str]) -> Report:
    """Read a program's lines; what it should have said and did not is red."""
    lines = [line for line in ran.stdout.splitlines() if line.startswith('{"client"')]
    said = [Cell(**json.loads(line)) for line in lines]
    report = Report(family, said)
    known = {(cell.client, cell.cell) for cell in said}
    left_out = [
        Cell(client, cell, ok=False, note="left out")
        for client in report.clients
        for cell in CELLS
        if (client, cell) not in known
    ]
    problem = ""
    if ran.returncode or not said:
        problem = f"its program ended with status {ran.returncode}:\n{ran.stderr[-3000:]}"
    return Report(family, said + left_out, problem)
