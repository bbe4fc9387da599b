"""The first or the last tokens of a long text, without tokenising all of it.

A tokenizer takes some 240 bytes of memory for each byte of a text. So a long text is read in slices that overlap, and
two slices are joined where both have the same tokens at the same places. Only what is near the edge of a slice may
differ from the tokens of the whole text: words that it cuts, and spaces whose meaning depends on what follows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.interface import Ids, Side

SLICE_CHARACTERS = 16 * 1024
# Tokens this near to the edge of a slice may be others in the whole text.
EDGE_CHARACTERS = 512
# This many tokens in a row must agree where two slices are joined.
AGREEING_TOKENS = 8
# Tokens are about four characters long, so that this many characters are most often more than enough.
CHARACTERS_PER_TOKEN = 16
# Less is read at first, since little is lost if it is not enough.
SLICE_CHARACTERS_PER_TOKEN = 6

# A stretch of EDGE_CHARACTERS with no more different characters than these is a run, such as spaces or `-=-=`.
RUN_CHARACTERS = 8


# A longer text is read in slices even if it may have as many tokens as it likes.
WHOLE_CHARACTERS = 512 * 1024
# A shorter text is tokenised whole, however few of its tokens matter.
SHORT_CHARACTERS = 4 * 1024
# At least this much of a text is read. A word of any length may be a single unknown token.
READ_CHARACTERS = 1024 * 1024
# A normaliser may make one character of two (NFC).
CHARACTERS_PER_NORMALISED = 2


def _go_on(_: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class TextLimit:
    """How many tokens of each text matter, and at which end: a text that is much longer is not tokenised whole.

    `between` is called between parts of the work with the tokens so far; what it raises ends the work.
    """

    max_tokens: int
    side: Side = "right"
    between: Callable[[int], object] = _go_on

    @property
    def whole_characters(self) -> int:
        """A text of at most this length is tokenised whole."""
        return min(max(CHARACTERS_PER_TOKEN * self.max_tokens, SHORT_CHARACTERS), WHOLE_CHARACTERS)

    def is_long(self, text: str) -> bool:
        """Whether the text is read in slices, and no further than needed."""
        return len(text) > self.whole_characters

    def readable(self, text: str, longest_token: int) -> str:
        """The part of a text that is looked at: what is longer has too many tokens, whatever it holds."""
        most = max(READ_CHARACTERS, CHARACTERS_PER_NORMALISED * longest_token * (self.max_tokens + 1))
        if len(text) <= most:
            return text
        return text[:most] if self.side == "right" else text[len(text) - most :]


@dataclass(frozen=True, slots=True)
class TextIds:
    """The ids of some texts. Those with an index in `partial` are too long, and have more tokens than are here."""

    ids: list[Ids]
    partial: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class TokenizedSlice:
    """The tokens of a piece of text: int32 ids, and where each token starts and ends in it, [tokens] each."""

    ids: Ids
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


Tokenize = Callable[[str], TokenizedSlice]


def slice_characters(count: int) -> int:
    """The length of a slice where `count` tokens are wanted: the first one most often suffices if they are few."""
    return min(SLICE_CHARACTERS_PER_TOKEN * count + 2 * EDGE_CHARACTERS, SLICE_CHARACTERS)


def first_ids(text: str, count: int, tokenize: Tokenize, between: Callable[[], object]) -> tuple[Ids, bool]:
    """The first ids of a text: more than `count` of them, or all, which the second value says.

    `between` is called before each slice; what it raises ends the work.
    """
    parts, tokens = list[Ids](), 0
    for ids in _slices(text, count, tokenize, between):
        parts.append(ids)
        tokens += len(ids)
        if tokens > count:
            return np.concatenate(parts), False
    return _joined(parts), True


def last_ids(text: str, count: int, tokenize: Tokenize, between: Callable[[], object]) -> tuple[Ids, bool]:
    """Like first_ids() for the last ids of a text."""
    length = CHARACTERS_PER_TOKEN * (count + AGREEING_TOKENS) + EDGE_CHARACTERS
    while length < len(text) and (start := _start_after(text, len(text) - length)) is not None:
        ids = _joined(list(_slices(text[start:], count, tokenize, between)))
        # The first ones may be cut out of a word.
        if len(ids) > count + AGREEING_TOKENS:
            return ids[AGREEING_TOKENS:], False
        length *= 4
    return _joined(list(_slices(text, count, tokenize, between))), True


def _slices(text: str, count: int, tokenize: Tokenize, between: Callable[[], object]) -> Iterator[Ids]:
    """The ids of a text, a part at a time; `count` of them are wanted."""
    usual = slice_characters(count)
    start, length = 0, usual
    seam: _Seam | None = None
    while True:
        between()
        end = min(start + length, len(text))
        piece = _shifted(tokenize(text[start:end]), start)
        begin = seam.place_in(piece) if seam else 0
        if begin is None:
            # The slices never agree, as in a long run of one character: go on where a token ended.
            assert seam is not None, "only a seam has no place"
            start, seam = seam.end, None
            continue
        if end == len(text):
            yield piece.ids[begin:]
            return
        stop = int(np.searchsorted(piece.ends, end - EDGE_CHARACTERS, side="right"))
        if stop <= begin:
            length *= 4  # a word that is longer than a slice
            continue
        yield piece.ids[begin:stop]
        seam = _seam(piece, stop)
        start, length = max(seam.start - EDGE_CHARACTERS, 0), usual


@dataclass(frozen=True, slots=True)
class _Seam:
    """The last tokens of a slice that count, to be found again in the next slice."""

    ids: Ids
    starts: NDArray[np.int64]
    end: int

    @property
    def start(self) -> int:
        return int(self.starts[0])

    def place_in(self, piece: TokenizedSlice) -> int | None:
        """The index after the same tokens in another slice; None if it has other tokens there."""
        first = int(np.searchsorted(piece.starts, self.start, side="left"))
        last = first + len(self.ids)
        is_same = np.array_equal(piece.ids[first:last], self.ids)
        return last if is_same and np.array_equal(piece.starts[first:last], self.starts) else None


def _seam(piece: TokenizedSlice, stop: int) -> _Seam:
    first = max(stop - AGREEING_TOKENS, 0)
    # A character of several tokens has one place.
    while first and piece.starts[first] == piece.starts[first - 1]:
        first -= 1
    return _Seam(piece.ids[first:stop], piece.starts[first:stop], int(piece.ends[stop - 1]))


def _shifted(piece: TokenizedSlice, by: int) -> TokenizedSlice:
    return TokenizedSlice(piece.ids, piece.starts + by, piece.ends + by)


def _start_after(text: str, place: int) -> int | None:
    """Where to begin near after a place: at a space between two words, if there is one, else at the place itself.

    None in a run of few characters: its tokens depend on where it begins.
    """
    for index in range(place, min(place + EDGE_CHARACTERS, len(text) - 1)):
        if text[index].isspace() and not text[index - 1].isspace() and text[index + 1].isalnum():
            return index
    return place if len(set(text[place : place + EDGE_CHARACTERS])) > RUN_CHARACTERS else None


def _joined(parts: list[Ids]) -> Ids:
    return np.concatenate(parts) if parts else np.array([], dtype=np.int32)
