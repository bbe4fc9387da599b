"""The code that docs/clients.md shows, run as it stands there but for address, key and model names."""

import os
import re
from pathlib import Path
from typing import Any

import plain

PAGE = Path(os.environ["HEARTH_CLIENTS_PAGE"])
FLAGS = re.MULTILINE | re.DOTALL
FILLED_IN = {
    "http://localhost:8000": plain.URL,
    "YOUR_KEY": plain.KEY,
    "Qwen/Qwen3-Embedding-0.6B": plain.EMBEDDER,
    "Qwen/Qwen3-Reranker-0.6B": plain.RERANKER,
}


def run(title: str) -> dict[str, Any]:
    """Run the first block of Python below the heading `title`; what it defined comes back.

    Raises: LookupError: no such heading, or no block below it.
    """
    variables: dict[str, Any] = {"__name__": title}
    code = _fill_in(_find(title, r"^```python\n(.*?)^```"))
    exec(compile(code, f"{PAGE.name}: {title}", "exec"), variables)
    return variables


def table(title: str) -> list[list[str]]:
    """The cells of the first table below the heading `title`, without its head.

    Raises: LookupError: no such heading, or no table below it.
    """
    _, _, *lines = _fill_in(_find(title, r"^((?:\|[^\n]*\n)+)")).splitlines()
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def _find(title: str, pattern: str) -> str:
    # Headings have two # or more, comments in code one.
    section = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", PAGE.read_text("utf-8"), FLAGS)
    found = section and re.search(pattern, section[1], FLAGS)
    if not found:
        raise LookupError(f"{PAGE.name} has nothing of this kind below the heading {title}: {pattern}")
    return found[1]


def _fill_in(text: str) -> str:
    for placeholder, value in FILLED_IN.items():
        text = text.replace(placeholder, value)
    return text
