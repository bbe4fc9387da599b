"""`hearth pull`: downloads one model into a folder, with progress bars and a summary."""

import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from models import Pulled, convert_folder, pull_model


def pull(source: str, folder: Path, revision: str | None, console: Console, *, convert: bool = False) -> None:
    """Pull one model, with `convert` also one whose weights are pickles, and print a summary.

    Raises: ModelError.
    """
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    bars = Progress(*columns, console=console, disable=not console.is_terminal)
    if not console.is_terminal:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

    def watch(what: str, total: int) -> Callable[[int], None]:
        task = bars.add_task(what, total=total)
        bars.start()
        return lambda advance: _advance(bars, task, advance)

    def converted(written_to: Path) -> tuple[str, ...]:
        return convert_folder(written_to).files

    try:
        pulled = pull_model(source, folder, revision=revision, watch=watch, convert=converted if convert else None)
    finally:
        bars.stop()
    console.print(escape(_summary(folder, pulled)), highlight=False, soft_wrap=True)


def _advance(bars: Progress, task: TaskID, advance: int) -> None:
    bars.advance(task, advance)
    if bars.finished:
        # Downloads draw their own bars.
        bars.stop()


def _summary(folder: Path, pulled: Pulled) -> str:
    manifest = pulled.manifest
    state = "was complete already, and every checksum agrees" if pulled.was_whole else "is complete"
    revision = f", revision {manifest.revision}" if manifest.revision else ""
    return f"{folder} {state}: {len(manifest.files)} files, {decimal(manifest.bytes)}, from {manifest.source}{revision}"
