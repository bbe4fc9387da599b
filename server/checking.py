"""`hearth check`: what models/ found of a model, as a table."""

from rich.console import Console
from rich.table import Table

from models import Dtype, LoadOptions, Report, check_model, find_checkpoint


def check(source: str, dtype: Dtype, console: Console) -> bool:
    """Check one model and print what was found; True when it is run right.

    Raises: ModelError.
    """
    with console.status("checking") as status:
        report = check_model(find_checkpoint(source), LoadOptions(dtype=dtype), status.update)
    console.print(_table(source, report))
    console.print("[green]agrees with the reference[/]" if report.passed else "[bold red]DIFFERS from the reference[/]")
    return report.passed


def _table(source: str, report: Report) -> Table:
    table = Table("what", "found", "wanted", title=source, title_justify="left")
    info, how = report.info, report.backend
    table.add_row("kind", f"{info.kind}: {info.kind_reason}")
    table.add_row("architecture", f"{info.architecture}, {info.width} wide, {how.parameters:,} parameters")
    table.add_row("longest input", f"{info.max_tokens:,} tokens")
    table.add_row("runs by", f"{how.backend} ({how.reason})")
    table.add_row("on", f"{how.device}, {how.dtype}", end_section=True)
    for finding in report.findings:
        table.add_row(finding.what, finding.found, finding.wanted, style=None if finding.passed else "bold red")
    return table
