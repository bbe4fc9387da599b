"""The tree in docs/architecture.md: every folder with the sentence of its `__init__.py`.

`python -m docs.generate.architecture` writes it; tests/docs/test_architecture.py keeps it in step.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from docs.generate.page import DOCS, filled

PAGE = DOCS / "architecture.md"
ROOT = DOCS.parent
# From the top floor down.
ORDER = (
    *("server", "api", "dialects", "processing", "engine", "observability", "launch", "cli"),
    *("models", "checkpoint", "text", "layers", "networks", "backends", "conversion", "verify", "demo"),
)
COLUMN = 18


def tree() -> str:
    """The tree as a text block."""
    lines = [line for package in ("server", "models") for line in _lines(ROOT / package, 0)]
    return "\n".join(["```text", *lines, "```"])


def _lines(folder: Path, depth: int) -> Iterator[str]:
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    sentence = " ".join(docstring.split("\n\n")[0].split())
    yield f"{'  ' * depth + folder.name + '/':<{COLUMN}}{sentence}"
    folders = [path for path in folder.iterdir() if (path / "__init__.py").is_file()]
    for path in sorted(folders, key=_place):
        yield from _lines(path, depth + 1)


def _place(folder: Path) -> tuple[int, str]:
    return ORDER.index(folder.name) if folder.name in ORDER else len(ORDER), folder.name


def main() -> None:
    """Write the tree into the page."""
    PAGE.write_text(filled(PAGE.read_text("utf-8"), {"tree": tree()}), "utf-8")


if __name__ == "__main__":
    main()
