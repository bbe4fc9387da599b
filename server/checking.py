"""`hearth check`: what models/ found of a model, as a table or as one JSON object."""

from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models import Dtype, LoadOptions, Report, check_model, find_checkpoint
from server.version import VERSION
from server.wire import dump


def check(source: str, dtype: Dtype, console: Console, revision: str | None = None) -> Report:
    """Check one model; what is being done is shown on `console`.

    Raises: ModelError.
    """
    with console.status("checking") as status:
        return check_model(find_checkpoint(source, revision), LoadOptions(dtype=dtype), status.update)


def show(source: str, report: Report, console: Console) -> None:
    """Print a report for people."""
    console.print(_table(source, report))
    console.print("[green]agrees with the reference[/]" if report.passed else "[bold red]DIFFERS from the reference[/]")


def as_json(source: str, report: Report) -> str:
    """A report for programs: the verdict, what the model is, how it is run, and each finding with its number."""
    document = {
        "model": source,
        "hearth": VERSION,
        "passed": report.passed,
        "info": asdict(report.info),
        "backend": asdict(report.backend),
        "findings": {finding.name: asdict(finding) for finding in report.findings},
    }
    return dump(document).decode()


def _table(source: str, report: Report) -> Table:
    table = Table("what", "found", "wanted", title=escape(source), title_justify="left")
    info, how = report.info, report.backend
    table.add_row("kind", escape(f"{info.kind}: {info.kind_reason}"))
    table.add_row("architecture", escape(f"{info.architecture}, {info.width} wide, {how.parameters:,} parameters"))
    table.add_row("longest input", f"{info.max_tokens:,} tokens")
    table.add_row("runs by", escape(f"{how.backend} ({how.reason})"))
    table.add_row("on", f"{how.device}, {how.dtype}", end_section=True)
    for finding in report.findings:
        row = map(escape, (finding.what, finding.found, finding.wanted))
        table.add_row(*row, style=None if finding.passed else "bold red")
    return table
