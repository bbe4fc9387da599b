"""Token ids of cl100k_base, which LangChain's OpenAI embeddings send: read where its vocabulary is at hand.

No network: tiktoken downloads a vocabulary that it does not find whole, so the file is looked at first.
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

# SHA-1 of the vocabulary's address, which tiktoken (0.14) takes as the name of its cached file.
FILE = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
# Its own SHA-256 (tiktoken_ext/openai_public.py): another file under that name would be removed and downloaded anew.
SHA_256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
# Its special tokens, the last of which is 100276, included.
CL100K_IDS = 100_277

Codec = tuple[Callable[[list[int]], str], Callable[[str], list[int]]]


def decode_cl100k(lists: Sequence[NDArray[np.integer]]) -> tuple[str, ...] | None:
    """The texts of id lists, or None if the vocabulary is not at hand or gave not all of them."""
    codec = _codec(_file()) if find_spec("tiktoken") else None
    if codec is None:
        return None
    decode, encode = codec
    values = [ids.tolist() for ids in lists]
    try:
        texts = tuple(decode(ids) for ids in values)
        known = all(_comes_back(ids, decode, encode) for ids in values)
    except (KeyError, OverflowError, ValueError):
        return None  # ids that no vocabulary of its size has
    return texts if known else None


def _comes_back(ids: list[int], decode: Callable[[list[int]], str], encode: Callable[[str], list[int]]) -> bool:
    again = encode(decode(ids))
    return again == ids or (len(ids) >= EDGE_FROM_IDS and agree_inside(_array(ids), _array(again)))


def _array(ids: list[int]) -> Ids:
    return np.array(ids, dtype=np.int32)


def _codec(file: Path | None) -> Codec | None:
    if file is None or not file.is_file():
        return None
    # By its time, so that a file which is put there later is seen.
    return _load(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _load(file: Path, changed_at_ns: int) -> Codec | None:
    if hashlib.sha256(file.read_bytes()).hexdigest() != SHA_256:
        return None
    import tiktoken

    encoding = tiktoken.get_encoding("cl100k_base")
    return encoding.decode, lambda text: encoding.encode(text, disallowed_special=())


def _file() -> Path | None:
    # The place where tiktoken looks (tiktoken/load.py, read_file_cached); an empty name is no place at all.
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if folder is None:
        return Path(tempfile.gettempdir()) / "data-gym-cache" / FILE
    return Path(folder) / FILE if folder else None
