"""English sentences that installed packages carry in their documentation. Reads files; knows no model."""

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

PACKAGES = (
    "huggingface_hub",
    "hypothesis",
    "networkx",
    "numpy",
    "openai",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "sympy",
    "torch",
    "transformers",
)
_BLOCK = re.compile(r'"""(.+?)"""', re.DOTALL)
_SPLIT = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n\s*\n")
_PROSE = re.compile(r"[A-Z][A-Za-z' ,;-]+[.?!]")


def _files() -> Iterator[Path]:
    paths = sysconfig.get_paths()
    stdlib, site = Path(paths["stdlib"]), Path(paths["purelib"])
    yield from sorted(p for p in stdlib.rglob("*.py") if "site-packages" not in p.parts)
    for package in PACKAGES:
        yield from sorted((site / package).rglob("*.py"))


def sentences(max_words: int = 30) -> list[str]:
    """Every distinct plain sentence of 4 to `max_words` words, in a fixed order."""
    seen: dict[str, None] = {}
    for path in _files():
        text = path.read_text(encoding="utf-8", errors="ignore")
        for block in _BLOCK.findall(text):
            for piece in _SPLIT.split(block):
                sentence = " ".join(piece.split())
                words = sentence.count(" ") + 1
                if 4 <= words <= max_words and _PROSE.fullmatch(sentence):
                    seen[sentence] = None
    return list(seen)
