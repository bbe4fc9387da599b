"""docs/configuration.md is what its generator writes, and SECURITY.md tells bounds as they are."""

import functools
import importlib
import re
from collections.abc import Iterator

import pytest

from docs.generate.configuration import PAGE, SECTIONS, page
from server.config import Config, Section
from tests.support.docs import DOCS


def test_the_page_is_that_of_the_code() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: make docs"


def test_every_setting_has_a_description() -> None:
    fields = {
        f"{prefix}{name}": field
        for _, prefix, section in SECTIONS
        for name, field in section.model_fields.items()
        if not isinstance(field.default, Section)
    }

    assert [key for key, field in fields.items() if not field.description] == []


def _bounds() -> Iterator[tuple[str, float]]:
    """The settings and constants in the table of SECURITY.md, with the number that it gives for each."""
    for line in (DOCS.parent / "SECURITY.md").read_text("utf-8").splitlines():
        cells = line.strip("| ").split(" | ")
        if len(cells) == 4 and (names := re.findall(r"`([\w./]+(?::\w+)?)`", cells[2])):
            numbers = [float(number) for number in re.findall(r"\d+", cells[1])]
            scale = 1024 if "KiB" in cells[1] else 1
            for place, name in enumerate(names):
                yield name, scale * numbers[min(place, len(numbers) - 1)]


@pytest.mark.parametrize(("name", "number"), list(_bounds()))
def test_the_bounds_of_the_security_page_are_those_of_the_code(name: str, number: float) -> None:
    if ":" in name:
        path, _, constant = name.partition(":")
        value = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), constant)
    else:
        value = functools.reduce(getattr, name.split("."), Config())

    assert value == number
