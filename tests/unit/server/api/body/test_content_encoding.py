"""Compressed request bodies: which codings there are, and how far a body may expand."""

import gzip
import tracemalloc
import zlib

import pytest

from server.api.body.content_encoding import coding_of, decode_body, decoded_size
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


@pytest.mark.parametrize("body", [TEXT, b"", ENCODED["gzip"][:-1], ENCODED["gzip"] + b"x", ENCODED["gzip"] * 2])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_70_a_body_that_is_not_what_the_header_says_is_refused(coding: str, body: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match=f"says {coding}, but the body is not"):
        decoded_size(body, coding, 100)


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
