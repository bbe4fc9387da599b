"""What is known of published checkpoints that their files do not say. The model cards are the source."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """Whether `dimensions` may be asked for, and whether a layer norm comes before the cut."""

    matryoshka: bool = True
    layer_norm_before_dimensions: bool = False


NOT_MATRYOSHKA = Known(matryoshka=False)

# By the last part of the repository's name, in lower case.
KNOWN: Mapping[str, Known] = {
    # Model card of nomic-embed-text-v1.5, "Usage": layer_norm over the full width, then the slice.
    "nomic-embed-text-v1.5": Known(layer_norm_before_dimensions=True),
    "nomic-embed-text-v1": NOT_MATRYOSHKA,
    "uae-large-v1": NOT_MATRYOSHKA,
    "gte-large": NOT_MATRYOSHKA,
    "gte-base": NOT_MATRYOSHKA,
    "bge-base-en-v1.5": NOT_MATRYOSHKA,
    "bge-small-en-v1.5": NOT_MATRYOSHKA,
    "all-minilm-l6-v2": NOT_MATRYOSHKA,
    "paraphrase-multilingual-minilm-l12-v2": NOT_MATRYOSHKA,
}


def known_of(names: tuple[str, ...]) -> Known:
    """What is known of a model under any of its names; nothing known means nothing against it."""
    for name in names:
        if found := KNOWN.get(name.rstrip("/").rsplit("/", 1)[-1].lower()):
            return found
    return Known()
