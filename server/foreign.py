"""Token ids of cl100k_base, which LangChain's OpenAI embeddings send: read where its vocabulary is at hand.

No network: tiktoken downloads a vocabulary that it does not find, so the file is looked for first.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# SHA-1 of the vocabulary's address, which tiktoken (0.14) takes as the name of its cached file.
FILE = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
# As in models.tokenizer: a chunk of a longer list may start and end inside a character.
EDGE_IDS = 4
EDGE_FROM_IDS = 64


def decode_cl100k(lists: Sequence[NDArray[np.integer]]) -> tuple[str, ...] | None:
    """The texts of id lists, or None if the vocabulary is not at hand or gave not all of them."""
    if not _file().is_file() or find_spec("tiktoken") is None:
        return None
    decode, encode = _codec()
    values = [ids.tolist() for ids in lists]
    try:
        texts = tuple(decode(ids) for ids in values)
        known = all(_comes_back(ids, decode, encode) for ids in values)
    except (KeyError, OverflowError, ValueError):
        return None  # ids that no vocabulary of its size has
    return texts if known else None


def _comes_back(ids: list[int], decode: Callable[[list[int]], str], encode: Callable[[str], list[int]]) -> bool:
    if encode(decode(ids)) == ids:
        return True
    cuts = range(EDGE_IDS + 1) if len(ids) >= EDGE_FROM_IDS else range(0)
    parts = (ids[start : len(ids) - end] for start in cuts for end in cuts)
    return any(encode(decode(part)) == part for part in parts)


@cache
def _codec() -> tuple[Callable[[list[int]], str], Callable[[str], list[int]]]:
    import tiktoken

    encoding = tiktoken.get_encoding("cl100k_base")
    return encoding.decode, lambda text: encoding.encode(text, disallowed_special=())


def _file() -> Path:
    # The places where tiktoken looks (tiktoken/load.py, read_file_cached).
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    return Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache") / FILE
