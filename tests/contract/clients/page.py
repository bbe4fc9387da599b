"""Reports as docs/compatibility.md: client by cell, and below it why a cell is not green."""

import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from server import VERSION
from tests.contract.clients.families import ROOT
from tests.contract.clients.report import CELLS, Cell, Report
from tests.contract.clients.table import TITLES

PAGE = ROOT / "docs" / "compatibility.md"
MARKS = {True: "✔", False: "✘", None: "–"}
HEAD = """\
# Compatibility

Written by `make clients`; do not edit. Real packages from their registries, unmodified, each family in an environment
of its own (its pins: `tests/contract/clients/`), against Hearth {version} with the demo pair in float32 on a real
socket. How each is pointed at Hearth: [clients.md](clients.md), whose own code is what ran here.

What a ✔ says:

| column | what was run, and compared with a plain HTTP request |
|---|---|
| embed | one text: the right vector |
| batch | several texts: the right vectors, in order |
| base64 | vectors that travelled as base64 |
| dimensions | shorter vectors, through the client's own option |
| token ids | ids that the client sends: the right vectors, or an error that names the fix |
| rerank | order and scores, documents returned |
| rerank, no documents | the same without documents |
| errors | a mistake raises the client's own class, and its message is the server's |
| retry | a full queue (429 with Retry-After) is asked again, once, by the client itself |
| timeout | a server that is too slow raises the client's own error, in time |

`–` with a number: the client cannot do that, or needs something else; the notes say what. Applications that are no
packages have their requests replayed by the tests: [Applications](clients.md#applications).
"""


def write_page(reports: Sequence[Report]) -> None:
    """Write it anew."""
    PAGE.write_text("\n".join(_lines(reports)) + "\n", "utf-8")


def _lines(reports: Sequence[Report]) -> Iterator[str]:
    notes = _number_notes(reports)
    yield HEAD.format(version=VERSION)
    yield _row("client", *TITLES.values())
    yield _row(*("---" for _ in ("client", *CELLS)))
    for report in reports:
        for client in report.clients:
            yield _row(client, *(_mark(report.find(client, cell), notes) for cell in CELLS))
    yield "\n## Notes\n"
    yield from (f"{number}. {note}" for note, number in notes.items())
    yield f"\nRun with Python {platform.python_version()}{_node()}."


def _number_notes(reports: Sequence[Report]) -> dict[str, int]:
    cells = (report.find(client, cell) for report in reports for client in report.clients for cell in CELLS)
    notes = dict.fromkeys(_sentence(cell.note) for cell in cells if cell.note)
    return {note: number for number, note in enumerate(notes, 1)}


def _mark(cell: Cell, notes: dict[str, int]) -> str:
    return f"{MARKS[cell.ok]} <sup>{notes[_sentence(cell.note)]}</sup>" if cell.note else MARKS[cell.ok]


def _sentence(note: str) -> str:
    # A client's own words may be several lines, which would end the list.
    text = " ".join(note.split())
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _node() -> str:
    command = shutil.which("node")
    if command is None:
        return ""
    return (
        f" and Node {subprocess.run([command, '--version'], capture_output=True, text=True, check=True).stdout.strip()}"
    )


def _row(*columns: str) -> str:
    return f"| {' | '.join(columns)} |"
