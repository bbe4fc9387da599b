"""Ids of cl100k_base are decoded only with the right vocabulary, and only to a text that encodes to the same ids."""

from pathlib import Path

import numpy as np
import pytest

from server.processing import cl100k
from server.processing.cl100k import FILE, decode_cl100k

IDS = [np.array([1, 2], dtype=np.int64)]


def _decode(ids: list[int]) -> str:
    return "".join({1: "a", 2: "b", 3: "ab"}[token] for token in ids)


@pytest.fixture
def _vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cl100k, "find_spec", lambda name: True)
    monkeypatch.setattr(cl100k, "_codec", lambda file: (_decode, lambda text: {"ab": [3], "ba": [2, 1]}[text]))


def test_an_unknown_file_under_the_name_of_the_vocabulary_is_not_given_to_tiktoken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cl100k, "find_spec", lambda name: True)
    # tiktoken would remove it and download another.
    (tmp_path / FILE).write_bytes(b"YQ== 0\n")

    assert decode_cl100k(IDS) is None
    assert (tmp_path / FILE).is_file()


@pytest.mark.usefixtures("_vocabulary")
def test_ids_that_their_text_encodes_to_are_decoded() -> None:
    assert decode_cl100k([np.array([2, 1]), np.array([3])]) == ("ba", "ab")


@pytest.mark.usefixtures("_vocabulary")
@pytest.mark.parametrize("ids", [[1, 2], [9]], ids=["another encoding", "no such id"])
def test_others_are_not_nor_is_any_list_beside_them(ids: list[int]) -> None:
    assert decode_cl100k([np.array([3]), np.array(ids)]) is None
