"""`hearth pull`: what models/ brings, with progress bars, and what it came to."""

import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from models import Pulled
from models import pull as bring


def pull(source: str, folder: Path, revision: str | None, console: Console) -> None:
    """Pull one model and say what it came to.

    Raises: ModelError.
    """
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    bars = Progress(*columns, console=console, disable=not console.is_terminal)
    if not console.is_terminal:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

    def watch(what: str, total: int) -> Callable[[int], None]:
        task = bars.add_task(what, total=total)
        bars.start()
        return lambda passed: _advance(bars, task, passed)

    try:
        pulled = bring(source, folder, revision=revision, watch=watch)
    finally:
        bars.stop()
    console.print(escape(_outcome(folder, pulled)), highlight=False, soft_wrap=True)


def _advance(bars: Progress, task: TaskID, passed: int) -> None:
    bars.advance(task, passed)
    if bars.finished:
        # A download draws bars of its own.
        bars.stop()


def _outcome(folder: Path, pulled: Pulled) -> str:
    manifest = pulled.manifest
    begin = f"{folder} was whole already, every checksum agrees" if pulled.was_whole else f"{folder} is whole"
    revision = f", revision {manifest.revision}" if manifest.revision else ""
    return f"{begin}: {len(manifest.files)} files, {decimal(manifest.bytes)}, of {manifest.source}{revision}"
