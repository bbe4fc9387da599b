"""What a benchmark prints and writes: tables, and the machine that they are of."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parents[1] / "results"
WIDTH = 200

Lines = Sequence[Sequence[str]]


def machine() -> str:
    """Processor, cores, Python and how busy it was."""
    load = os.getloadavg()[0]
    return (
        f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, load average before: {load:.1f}"
    )


def show(title: str, lines: Lines) -> None:
    """Print one table; its first line is the header."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    head, *body = lines
    table = Table(*head, title=title, title_justify="left")
    for line in body:
        table.add_row(*line)
    console.print(table)


def markdown(title: str, lines: Lines) -> str:
    """One table for a page."""
    head, *body = lines
    written = [" | ".join(line) for line in (head, ["---"] * len(head), *body)]
    return "\n".join([f"## {title}", "", *(f"| {line} |" for line in written), ""])


def write(file: Path, *parts: str) -> None:
    """Write a page."""
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(parts), "utf-8")


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text("ascii"), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
