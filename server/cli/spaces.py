"""`hearth check A B`: whether the vectors of two models, or of a server and a model, can be compared."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from models import (
    UNKNOWN,
    Checkpoint,
    Checksums,
    LoadOptions,
    ModelError,
    VectorSpace,
    compare_spaces,
    find_checkpoint,
    load_preprocessor,
    model_digest,
    model_id,
    read_space,
)
from server.processing.outputs.spaces import name_model
from server.serialization import dump

VERDICTS = {
    "same": "the same space: vectors can be compared",
    "compatible": "compatible: vectors can be compared; they differ by rounding, or where a long text is cut",
    "other": "another space: vectors cannot be compared",
}


def space_of(source: str, state_folder: Path, revision: str | None = None) -> VectorSpace:
    """The space that a name from X-Hearth-Space means, or that of a model's float32 vectors of length 1.

    Raises: ModelError: there is no such model, or it gives no vectors.
    """
    if space := read_space(source):
        return space
    checkpoint = Checkpoint(find_checkpoint(source, revision))
    text = load_preprocessor(checkpoint, LoadOptions(id=model_id(source)))
    if text.info.kind == "reranker":
        raise ModelError(f"{source} is a reranker; only vectors lie in a space")
    name = name_model(text, None, model_digest(checkpoint, Checksums(state_folder)))
    return VectorSpace(name, UNKNOWN, text.info.max_tokens, "float32", text.info.width, "unit")


def check_spaces(one: VectorSpace, other: VectorSpace, console: Console, *, as_json: bool) -> bool:
    """Print whether vectors of two spaces can be compared, and why not; return it."""
    verdict, different = compare_spaces(one, other)
    if as_json:
        console.file.write(
            dump({"verdict": verdict, "spaces": [str(one), str(other)], "different": different}).decode() + "\n"
        )
    else:
        _show(one, other, different, console)
        console.print(VERDICTS[verdict], style="bold red" if verdict == "other" else "green", highlight=False)
    return verdict != "other"


def _show(one: VectorSpace, other: VectorSpace, different: Mapping[str, tuple[str, str]], console: Console) -> None:
    console.print(f"{one}\n{other}", highlight=False, soft_wrap=True)
    if different:
        table = Table("what differs", "first", "second")
        for name, (first, second) in different.items():
            table.add_row(name, first, second)
        console.print(table)
