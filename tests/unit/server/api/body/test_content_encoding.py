"""Compressed request bodies: which codings there are, and how far a body may expand."""

import gzip
import os
import tracemalloc
import zlib

import pytest

from server.api.body.content_encoding import MAX_MEMBERS, PIECE_BYTES, coding_of, decode_body, decoded_size
from server.errors import PayloadTooLarge, UnsupportedMedia

TEXT = b'{"input": "a"}'
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
ENCODED = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "x-gzip": gzip.compress(TEXT, mtime=0),
    "deflate": zlib.compress(TEXT),
}


@pytest.mark.parametrize("headers", [[], [""], ["identity"], ["Identity, identity"]])
def test_a_body_may_be_as_it_is(headers: list[str]) -> None:
    assert coding_of(headers) is None


@pytest.mark.parametrize("headers", [["gzip"], [" GZIP "], ["identity", "gzip"], ["gzip, identity"]])
def test_the_coding_is_found_among_the_headers(headers: list[str]) -> None:
    assert coding_of(headers) == "gzip"


@pytest.mark.parametrize("headers", [["br"], ["zstd"], ["gzip, gzip"], ["gzip", "deflate"], ["x" * 5000]])
def test_70_another_coding_is_refused_by_name(headers: list[str]) -> None:
    with pytest.raises(UnsupportedMedia, match=r"^Content-Encoding '\w+"):
        coding_of(headers)


@pytest.mark.parametrize(("coding", "body"), ENCODED.items())
def test_70_a_body_is_decoded(coding: str, body: bytes) -> None:
    assert decoded_size(body, coding, len(TEXT)) == len(TEXT)
    assert decode_body(body, coding, len(TEXT)) == TEXT


def test_70_deflate_without_its_header_is_decoded_too() -> None:
    body = RAW.compress(TEXT) + RAW.flush()

    assert decode_body(body, "deflate", decoded_size(body, "deflate", 100)) == TEXT


def test_an_empty_body_is_decoded() -> None:
    body = gzip.compress(b"", mtime=0)

    assert decoded_size(body, "gzip", 100) == 0
    assert decode_body(body, "gzip", 0) == b""


@pytest.mark.parametrize("sizes", [[0, 5, 0], [1], [200_000, 1, 300_000], [1] * MAX_MEMBERS])
def test_gzip_may_have_several_members(sizes: list[int]) -> None:
    texts = [os.urandom(size) for size in sizes]
    body = b"".join(gzip.compress(text, mtime=0) for text in texts)

    size = decoded_size(body, "gzip", sum(sizes))

    assert decode_body(body, "gzip", size) == b"".join(texts)


@pytest.mark.parametrize("size", range(PIECE_BYTES - 3, PIECE_BYTES + 4))
@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw"])
def test_a_copy_may_cross_the_end_of_a_piece(coding: str, size: int) -> None:
    bits = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS, "raw": -zlib.MAX_WBITS}[coding]
    encoder = zlib.compressobj(wbits=bits)
    body = encoder.compress(b"a" * size) + encoder.flush()
    name = "gzip" if coding == "gzip" else "deflate"

    assert decode_body(body, name, decoded_size(body, name, size)) == b"a" * size


@pytest.mark.parametrize(
    ("coding", "body"),
    [(coding, body) for coding in ("gzip", "deflate") for body in (TEXT, b"", ENCODED["gzip"][:-1])]
    + [
        ("gzip", ENCODED["gzip"] + b"x"),
        ("gzip", ENCODED["gzip"] + ENCODED["gzip"][:-1]),
        ("gzip", ENCODED["gzip"] * (MAX_MEMBERS + 1)),
        ("deflate", ENCODED["deflate"] * 2),
        ("deflate", ENCODED["gzip"] * 2),
    ],
    ids=range(11),
)
def test_70_a_body_that_is_not_what_the_header_says_is_refused(coding: str, body: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match=f"says {coding}, but the body is not"):
        decoded_size(body, coding, 1_000_000)


@pytest.mark.parametrize("coding", ENCODED)
def test_71_a_decoded_body_over_the_limit_is_refused(coding: str) -> None:
    with pytest.raises(PayloadTooLarge):
        decoded_size(ENCODED[coding], coding, len(TEXT) - 1)


def test_71_a_body_that_expands_a_thousandfold_takes_no_memory() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    tracemalloc.start()

    with pytest.raises(PayloadTooLarge):
        decoded_size(bomb, "gzip", 32 * 1024 * 1024)

    assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
    tracemalloc.stop()
