"""Decoding a compressed request body, never to more bytes than a body may have."""

import zlib
from collections.abc import Iterable

from server.errors import PayloadTooLarge, UnsupportedMedia

# zlib's window bits: 16 more selects gzip's header and checksum, a negative number no header at all.
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
CODINGS = ("gzip", "x-gzip", "deflate")
PIECE_BYTES = 64 * 1024


def coding_of(headers: Iterable[str]) -> str | None:
    """The coding that the Content-Encoding headers name; None if the body is not encoded.

    Raises: UnsupportedMedia: an unknown coding, or several.
    """
    names = [name.strip().lower() for header in headers for name in header.split(",")]
    codings = [name for name in names if name not in ("", "identity")]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in CODINGS:
        raise UnsupportedMedia(
            f"Content-Encoding '{', '.join(codings)[:64]}' is not supported; use gzip or deflate, "
            "or send the body without a Content-Encoding."
        )
    return codings[0]


def decoded_size(body: bytes, coding: str, limit: int) -> int:
    """The bytes of the decoded body. It is only counted, so it takes no memory, however much a few bytes expand to.

    Takes a while for large bodies: not for the event loop.

    Raises: PayloadTooLarge: it would have more than `limit` bytes. UnsupportedMedia: it is not what `coding` says.
    """
    decoder = zlib.decompressobj(_window_bits(body, coding))
    size, rest = 0, body
    try:
        while rest and not decoder.eof:
            size += len(decoder.decompress(rest, PIECE_BYTES))
            rest = decoder.unconsumed_tail
            if size > limit:
                raise PayloadTooLarge(limit)
    except zlib.error:
        raise _not_what_it_says(coding) from None
    if not decoder.eof or decoder.unused_data:
        raise _not_what_it_says(coding)
    return size


def decode_body(body: bytes, coding: str, size: int) -> bytes:
    """The decoded body; `size` is its decoded_size()."""
    return zlib.decompress(body, _window_bits(body, coding), max(size, 1))


def _window_bits(body: bytes, coding: str) -> int:
    if coding != "deflate":
        return _GZIP
    # "deflate" means zlib's format (RFC 9110, section 8.4.1.2), but some clients send it without the header.
    is_zlib = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
    return _ZLIB if is_zlib else _RAW


def _not_what_it_says(coding: str) -> UnsupportedMedia:
    return UnsupportedMedia(f"Content-Encoding says {coding}, but the body is not {coding}.")
