"""`hearth calibrate`: measures a model's vectors once, and shows what each form of output loses in ranking."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models import (
    CALIBRATION_TEXTS,
    CalibrationReport,
    Checkpoint,
    Checksums,
    Dtype,
    LoadOptions,
    ModelError,
    bytes_of,
    calibrate_model,
    calibration_file,
    find_checkpoint,
    model_digest,
    model_id,
    write_calibration,
)


def calibrate(
    source: str, texts: Path | None, state_folder: Path, dtype: Dtype, console: Console, revision: str | None = None
) -> CalibrationReport:
    """Calibrate one model and keep what was measured in the state folder.

    Raises: ModelError.
    """
    sample = CALIBRATION_TEXTS if texts is None else read_texts(texts)
    folder = find_checkpoint(source, revision)
    with console.status("loading") as status:
        report = calibrate_model(folder, LoadOptions(id=model_id(source), dtype=dtype), sample, status.update)
        status.update("naming the model by the checksums of its files")
        file = calibration_file(state_folder, model_digest(Checkpoint(folder), Checksums(state_folder)))
        write_calibration(file, report.calibration, source)
    console.print(f"kept in {file}", highlight=False, soft_wrap=True)
    return report


def read_texts(file: Path) -> list[str]:
    """The lines of a text file.

    Raises: ModelError: it cannot be read, or is not UTF-8.
    """
    try:
        return file.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ModelError(f"{file} is not UTF-8: {error.reason} at byte {error.start}") from error
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from error


def show(source: str, report: CalibrationReport, console: Console) -> None:
    """Print the losses as a table."""
    table = Table(title=escape(f"{source}, {report.texts} texts"), title_justify="left")
    table.add_column("form")
    for name in ("bytes", "recall@10", "nDCG@10", "nDCG@10 after rescoring"):
        table.add_column(name, justify="right")
    table.add_row("float32", f"{bytes_of(report.width, 'float32'):,}", "1", "1", "1")
    for dtype, loss in report.calibration.losses.items():
        numbers = (loss.recall_at_10, loss.ndcg_at_10, loss.rescored_ndcg_at_10)
        cells = ("-" if number is None else f"{number:.4f}" for number in numbers)
        table.add_row(dtype, f"{bytes_of(report.width, dtype):,}", *cells)
    console.print(table)
    console.print(
        "Every second text was a query for the others of that half, and the ranking of float32 is right. Rescoring "
        "compares the 100 best in float32; -: there are too few texts to say.",
        highlight=False,
    )
