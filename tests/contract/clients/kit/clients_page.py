"""The code that docs/clients.md shows, run as it stands there but for address, key and model names."""

import os
import re
from pathlib import Path
from typing import Any

import plain

PAGE = Path(os.environ["HEARTH_CLIENTS_PAGE"])
FLAGS = re.MULTILINE | re.DOTALL


def run(title: str, url: str = plain.URL) -> dict[str, Any]:
    """Run the first block of Python below the heading `title`; what it defined comes back.

    Raises: LookupError: no such heading, or no block below it.
    """
    variables: dict[str, Any] = {"__name__": title}
    exec(compile(_filled_in(_block(title), url), f"{PAGE.name}: {title}", "exec"), variables)
    return variables


def _block(title: str) -> str:
    # Between the heading and the block stand lines that begin neither.
    block = re.search(
        rf"^#+ {re.escape(title)}\n(?:(?!#|```)[^\n]*\n)*```python\n(.*?)^```", PAGE.read_text("utf-8"), FLAGS
    )
    if not block:
        raise LookupError(f"{PAGE.name} has no block of Python below the heading: {title}")
    return block[1]


def _filled_in(code: str, url: str) -> str:
    placeholders = {
        "http://localhost:8000": url,
        "YOUR_KEY": plain.KEY,
        "Qwen/Qwen3-Embedding-0.6B": plain.EMBEDDER,
        "Qwen/Qwen3-Reranker-0.6B": plain.RERANKER,
    }
    for placeholder, value in placeholders.items():
        code = code.replace(placeholder, value)
    return code
