"""Pages that are half written, half generated: each generated section stands between two comments."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parents[1]


def filled(page: str, sections: Mapping[str, str]) -> str:
    """The page with each named section put between its comments `<!-- generated: name -->` and `<!-- end: name -->`.

    Raises: ValueError: the page has no such section.
    """
    for name, text in sections.items():
        begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        before, opened, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not opened or not closed:
            raise ValueError(f"the page has no section {begin} ... {end}")
        page = f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}"
    return page


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; a `|` within a cell is escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
