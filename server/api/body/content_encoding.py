"""Decoding a compressed request body, never to more bytes than a body may have."""

import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO

from server.errors import PayloadTooLarge, UnsupportedMedia

# zlib's window bits: 16 more selects gzip's header and checksum, a negative number no header at all.
_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
CODINGS = ("gzip", "x-gzip", "deflate")
PIECE_BYTES = 64 * 1024
# gzip allows several members one after another (RFC 1952, section 2.2). Each costs a decoder, and may hold nothing.
MAX_MEMBERS = 1000


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
    size = 0
    for piece in _decoded_pieces(body, coding):
        size += len(piece)
        if size > limit:
            raise PayloadTooLarge(limit)
    return size


def decode_body(body: bytes, coding: str, size: int) -> bytes:
    """The decoded body; `size` is its decoded_size()."""
    decoder = zlib.decompressobj(_window_bits(body, coding))
    first = decoder.decompress(body, max(size, 1))
    if len(first) == size:
        return first
    content = BytesIO()
    for piece in _decoded_pieces(body, coding):
        content.write(piece)
    return content.getvalue()


def _decoded_pieces(body: bytes, coding: str) -> Iterator[bytes]:
    """The decoded body, a piece at a time.

    Raises: UnsupportedMedia: it is not what `coding` says.
    """
    window_bits, rest, members = _window_bits(body, coding), memoryview(body), 1
    decoder, encoded = zlib.decompressobj(window_bits), b""
    try:
        while encoded or rest:
            if not encoded:
                encoded, rest = bytes(rest[:PIECE_BYTES]), rest[PIECE_BYTES:]
            if decoder.eof:
                members += 1
                if window_bits != _GZIP or members > MAX_MEMBERS:
                    raise _not_what_it_says(coding)
                decoder = zlib.decompressobj(window_bits)
            yield decoder.decompress(encoded, PIECE_BYTES)
            encoded = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        # The end of a copy may be due after the last byte was read.
        yield decoder.flush()
    except zlib.error:
        raise _not_what_it_says(coding) from None
    if not decoder.eof:
        raise _not_what_it_says(coding)


def _window_bits(body: bytes, coding: str) -> int:
    if coding != "deflate":
        return _GZIP
    # "deflate" means zlib's format (RFC 9110, section 8.4.1.2), but some clients send it without the header.
    is_zlib = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
    return _ZLIB if is_zlib else _RAW


def _not_what_it_says(coding: str) -> UnsupportedMedia:
    return UnsupportedMedia(f"Content-Encoding says {coding}, but the body is not {coding}.")
