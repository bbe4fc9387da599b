"""Draws the way of a request from text, as the picture in the README: python -m docs.generate.request_picture."""

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from pathlib import Path

PICTURE = Path(__file__).parents[1] / "images" / "request.svg"

# One lane a line: the process, its colour, and the steps in their order. Every second lane runs from right to left.
LANES = (
    ("HTTP process", "#e8f0fb", ("request", "check the key", "parse one dialect", "tokenise, sort", "admit")),
    ("engine process, one for each device", "#e9f6ec", ("queue", "choose a batch", "run the model", "catch NaN")),
    ("HTTP process", "#e8f0fb", ("finish: cut, normalise, sort", "write the dialect", "response")),
)
WIDTH, LANE_HEIGHT, MARGIN, TITLE = 900, 96, 12, 26
BOX_HEIGHT, GAP = 44, 26
ARROW_HEAD = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" fill="#334"/></marker></defs>'
)


def draw() -> str:
    """The picture as SVG, readable on light and dark pages."""
    height = MARGIN + (LANE_HEIGHT + MARGIN) * len(LANES)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" role="img">',
        "<title>The way of a request through Hearth</title>",
        ARROW_HEAD,
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#fff"/>',
        *_lanes(),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _lanes() -> Iterator[str]:
    before: tuple[float, float] | None = None
    for number, (process, colour, steps) in enumerate(LANES):
        top = MARGIN + number * (LANE_HEIGHT + MARGIN)
        size = f'width="{WIDTH - 2 * MARGIN}" height="{LANE_HEIGHT}"'
        yield f'<rect x="{MARGIN}" y="{top}" {size} rx="8" fill="{colour}"/>'
        yield f'<text x="{MARGIN + 10}" y="{top + 17}" font-size="12" fill="#556">{escape(process)}</text>'
        width = (WIDTH - 2 * MARGIN - GAP * (len(steps) + 1)) / len(steps)
        places = [MARGIN + GAP + place * (width + GAP) for place in range(len(steps))]
        backwards = number % 2 == 1
        if backwards:
            places.reverse()
        middle = top + TITLE + BOX_HEIGHT / 2
        if before is not None:
            yield _arrow(before[0], before[1], places[0] + width / 2, middle - BOX_HEIGHT / 2)
        for left, right in pairwise(places):
            start, end = (left, right + width) if backwards else (left + width, right)
            yield _arrow(start, middle, end, middle)
        for left, step in zip(places, steps, strict=True):
            yield from _box(left, top + TITLE, width, step)
        before = places[-1] + width / 2, middle + BOX_HEIGHT / 2


def _box(left: float, top: float, width: float, step: str) -> Iterator[str]:
    yield (
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BOX_HEIGHT}" rx="6" fill="#fff" stroke="#667"/>'
    )
    yield (
        f'<text x="{left + width / 2:.1f}" y="{top + 27}" font-size="12.5" text-anchor="middle" fill="#223">'
        f"{escape(step)}</text>"
    )


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="#334" stroke-width="1.4" marker-end="url(#arrow)"/>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), "utf-8")
