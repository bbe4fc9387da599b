"""Every relative link of the documents leads to a file, and to a heading if it names one; the picture is up to date."""

import re
from functools import cache
from pathlib import Path

import pytest

from docs.generate import request_picture
from tests.support.docs import DOCS

ROOT = DOCS.parent
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
LINKS = [
    (page, link)
    for page in PAGES
    for link in LINK.findall(CODE.sub("", page.read_text("utf-8")))
    if not link.startswith(("http://", "https://", "mailto:"))
]


@cache
def _anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.relative_to(ROOT)}-{link}" for page, link in LINKS])
def test_a_link_leads_somewhere(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page

    assert target.exists()
    assert not anchor or anchor in _anchors(target)


def test_there_are_links_to_follow() -> None:
    assert len(LINKS) > 30


def test_the_picture_of_a_request_is_that_of_its_text() -> None:
    assert request_picture.PICTURE.read_text("utf-8") == request_picture.draw()
