"""How a Python program here proves its client: what it was made to do is compared with plain HTTP, cell by cell.

Runs in the client's environment, on the standard library alone.
"""

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

import plain

FOX = "The quick brown fox jumped over the lazy dog"
BATCH = ["Hearth keeps the room warm.", "", "The weather in Paris", "Hearth keeps the room warm."]
IDS = [[1, 2, 3], [4]]
# What the blocks of docs/clients.md embed and rank.
SHOWN = ["a text", "another"]
SHOWN_QUERY, SHOWN_DOCUMENTS = "Which is first?", ["one", "two"]
LATEST_S = 3.0

Vector = Sequence[float]
Ranked = Iterable[tuple[int, float]]
Embed = Callable[[list[str]], Iterable[Vector]]
Rank = Callable[[str, list[str]], Ranked]


class Client:
    """One row of the table; each method is one cell, or tells why there is none."""

    def __init__(self, name: str, **fields: Any) -> None:
        """`name` holds the package's version; `fields` are those of plain.vectors, if they are not the defaults."""
        self._name = name
        self._fields = fields

    @contextmanager
    def cell(self, cell: str, note: str = "") -> Iterator[None]:
        """The block proves the cell, unless it raises."""
        try:
            yield
        except Exception as error:  # what a client raises is its own affair: it is the cell's result
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._say(cell, ok=False, note=f"{type(error).__name__}: {str(error)[:400]} ({place.name}:{place.lineno})")
        else:
            self._say(cell, ok=True, note=note)

    def cannot(self, why: str, *cells: str) -> None:
        """Cells that do not apply to the client."""
        for cell in cells:
            self._say(cell, ok=None, note=why)

    def embeds(
        self, embed: Embed, *, shown: Iterable[Vector] | None, one: Callable[[str], Vector] | None = None
    ) -> None:
        """What the page's code got, if any, one text, and several with an empty one among them."""
        with self.cell("embed"):
            if shown is not None:
                same(shown, self._right(SHOWN))
            same([one(FOX)] if one else embed([FOX]), self._right([FOX]))
        with self.cell("batch"):
            same(embed(BATCH), self._right(BATCH))

    def packs(self, embed_busily: Embed) -> None:
        """It asks for base64 by itself, as the busy server can tell."""
        with self.cell("base64"):
            plain.busy_again()
            same(embed_busily([FOX]), self._right([FOX]))
            asked = plain.busy_again()["last"]
            assert asked["encoding_format"] == "base64", asked

    def shortens(self, embed: Embed, dimensions: int = 64) -> None:
        """`embed` asks for so many dimensions."""
        with self.cell("dimensions"):
            same(embed([FOX]), self._right([FOX], dimensions=dimensions))

    def takes_ids(self, embed: Callable[[Any], Iterable[Vector]]) -> None:
        """Ids of the model's own vocabulary."""
        with self.cell("token_ids"):
            same(embed(IDS), self._right(IDS))

    def ranks(self, rank: Rank, *, shown: Ranked | None, cell: str = "rerank") -> None:
        """What the page's code got, if any, and all documents, best first; `rank` checks those that came back."""
        with self.cell(cell):
            if shown is not None:
                same_order(shown, plain.scores(SHOWN_QUERY, SHOWN_DOCUMENTS, top_n=1))
            same_order(rank(plain.QUERY, plain.DOCUMENTS), plain.scores())

    def ranks_texts(self, rank: Rank, *, shown: Ranked | None = None) -> None:
        """The same, where `rank` asks for no documents and checks that none came."""
        self.ranks(rank, shown=shown, cell="rerank_texts")

    def fails(self, call: Callable[[], object], error: type[Exception], *words: str) -> None:
        """The call raises this error, and each of the words is in what it says."""
        with self.cell("errors"):
            caught = raised(call, error)
            missing = [word for word in words if word not in _text(caught)]
            assert not missing, f"{missing} is not in: {_text(caught)}"

    def retries(self, embed: Embed) -> None:
        """`embed` asks the busy server, which refuses once."""
        with self.cell("retry"), _asked_twice():
            same(embed([FOX]), self._right([FOX]))

    def retries_ranking(self, rank: Rank) -> None:
        """`rank` asks the busy server, which refuses once."""
        with self.cell("retry"), _asked_twice():
            same_order(rank(plain.QUERY, plain.DOCUMENTS), plain.scores())

    def gives_up(self, call: Callable[[], object], *errors: type[Exception]) -> None:
        """`call` asks the slow server, and was told to wait for less than a second."""
        with self.cell("timeout"):
            started = monotonic()
            raised(call, *errors)
            took = monotonic() - started
            assert took < LATEST_S, f"gave up after {took:.1f} s"

    def _right(self, texts: Any, **fields: Any) -> list[list[float]]:
        return plain.vectors(texts, **self._fields, **fields)

    def _say(self, cell: str, *, ok: bool | None, note: str) -> None:
        line = json.dumps({"client": self._name, "cell": cell, "ok": ok, "note": note})
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def same(found: Iterable[Vector], expected: Sequence[Vector]) -> None:
    """Vectors agree, number by number."""
    rows = [list(vector) for vector in found]
    assert [len(row) for row in rows] == [len(row) for row in expected]
    pairs = zip(rows, expected, strict=True)
    worst = max(abs(one - other) for row, right in pairs for one, other in zip(row, right, strict=True))
    assert worst < 1e-5, f"worst difference {worst}"


def same_order(found: Ranked, expected: Ranked) -> None:
    """Rankings agree in order and score."""
    rows, right = list(found), list(expected)
    assert [index for index, _ in rows] == [index for index, _ in right], rows
    worst = max(abs(score - other) for (_, score), (_, other) in zip(rows, right, strict=True))
    assert worst < 1e-5, f"worst difference {worst}"


def raised(call: Callable[[], object], *errors: type[Exception]) -> Exception:
    """What the call raises, which must be one of these."""
    try:
        answer = call()
    except errors as error:
        return error
    raise AssertionError(f"nothing was raised, but answered: {str(answer)[:200]}")


@contextmanager
def _asked_twice() -> Iterator[None]:
    plain.busy_again()
    yield
    asked = plain.busy_again()["asked"]
    assert asked == 2, f"asked {asked} times"


def _text(error: Exception) -> str:
    said: list[Any] = [error, getattr(error, "body", ""), getattr(error, "message", "")]
    return " ".join(map(str, said))
