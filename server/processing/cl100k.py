"""Decodes token ids of OpenAI's cl100k_base vocabulary, which LangChain's OpenAIEmbeddings sends.

Nothing is downloaded: tiktoken fetches a vocabulary that is missing or damaged, so its cached file is checked first.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import EDGE_FROM_IDS, Ids, agree_inside

# tiktoken 0.14 names a cached file by the SHA-1 of its URL.
FILE = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
# tiktoken_ext/openai_public.py: tiktoken replaces a file that has another SHA-256 by a download.
SHA_256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
# Special tokens included; the last of them is 100276.
CL100K_IDS = 100_277

Decode = Callable[[list[int]], str]
Encode = Callable[[str], list[int]]


def decode_cl100k(lists: Sequence[NDArray[np.integer]]) -> tuple[str, ...] | None:
    """The texts of id lists; None without the vocabulary, or if a list does not decode to a text that gives it back."""
    codec = _codec(_cached_file()) if find_spec("tiktoken") else None
    if codec is None:
        return None
    decode, encode = codec
    values = [ids.tolist() for ids in lists]
    try:
        texts = tuple(decode(ids) for ids in values)
        are_cl100k = all(_agree(ids, encode(text)) for ids, text in zip(values, texts, strict=True))
    except (KeyError, OverflowError, ValueError):
        return None  # an id outside the vocabulary
    return texts if are_cl100k else None


def _agree(ids: list[int], encoded: list[int]) -> bool:
    return encoded == ids or (len(ids) >= EDGE_FROM_IDS and agree_inside(_array(ids), _array(encoded)))


def _array(ids: list[int]) -> Ids:
    return np.array(ids, dtype=np.int32)


def _codec(file: Path | None) -> tuple[Decode, Encode] | None:
    if file is None or not file.is_file():
        return None
    # The time is part of the key, so that a file which is added or replaced later is read.
    return _load(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _load(file: Path, changed_at_ns: int) -> tuple[Decode, Encode] | None:
    if hashlib.sha256(file.read_bytes()).hexdigest() != SHA_256:
        return None
    import tiktoken

    encoding = tiktoken.get_encoding("cl100k_base")
    return encoding.decode, lambda text: encoding.encode(text, disallowed_special=())


def _cached_file() -> Path | None:
    # Where tiktoken looks (tiktoken/load.py, read_file_cached); an empty variable turns its cache off.
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder is None:
        return Path(tempfile.gettempdir()) / "data-gym-cache" / FILE
    return Path(folder) / FILE if folder else None
