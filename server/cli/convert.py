"""`hearth convert`: pickled weights as safetensors, with a summary."""

from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from models import convert_folder


def convert(source: Path, folder: Path | None, console: Console) -> None:
    """Convert the weights of a folder and print what was written.

    Raises: ModelError.
    """
    with console.status("converting") as status:
        converted = convert_folder(source, folder, lambda step: status.update(escape(step)))
    summary = (
        f"{converted.folder}: {converted.tensors} tensors, {decimal(converted.bytes)}, in "
        f"{', '.join(converted.files)}; "
        f"each was compared with what was read; the pickles were read {converted.isolation}, and are still there"
    )
    console.print(escape(summary), highlight=False, soft_wrap=True)
