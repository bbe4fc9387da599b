"""What a benchmark prints and writes: tables, and the machine that they were measured on."""

import os
import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parents[1] / "results"
WIDTH = 200

# Cells of a table; the first row is the header.
Rows = Sequence[Sequence[str]]


def machine() -> str:
    """Processor, cores, Python and the load average before the measurement."""
    load = os.getloadavg()[0]
    return f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, load average before: {load:.1f}"


def show(title: str, rows: Rows) -> None:
    """Print one table."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    header, *body = rows
    table = Table(*header, title=title, title_justify="left")
    for row in body:
        table.add_row(*row)
    console.print(table)


def markdown(title: str, rows: Rows) -> str:
    """One table below a heading, in Markdown."""
    header, *body = rows
    lines = [" | ".join(row) for row in (header, ["---"] * len(header), *body)]
    return "\n".join([f"## {title}", "", *(f"| {line} |" for line in lines), ""])


def significant(value: float) -> str:
    """A figure with three digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(file: Path, *parts: str) -> None:
    """Write a page from its parts, in a folder that is made if it is missing."""
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(parts), "utf-8")


def processor() -> str:
    with suppress(OSError):
        name = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text("ascii"), re.MULTILINE)
        if name:
            return name[1]
    return platform.processor() or platform.machine()
