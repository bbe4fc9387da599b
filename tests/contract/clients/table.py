"""Reports as a table for the terminal."""

from collections.abc import Sequence

from rich.table import Table

from tests.contract.clients.report import CELLS, Cell, Report

TITLES = {cell: cell.replace("_", " ") for cell in CELLS} | {"rerank_texts": "rerank, no documents"}
MARKS = {True: "[green]✔[/]", False: "[red]✘[/]", None: "–"}


def draw(reports: Sequence[Report]) -> Table:
    """One line per client."""
    table = Table("client", *TITLES.values(), title="Clients against Hearth", title_justify="left")
    for report in reports:
        for client in report.clients:
            table.add_row(client, *(_mark(report.find(client, cell)) for cell in CELLS))
    return table


def _mark(cell: Cell) -> str:
    return MARKS[cell.ok]
