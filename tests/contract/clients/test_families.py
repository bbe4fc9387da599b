"""What every family and the page of clients have to keep."""

import re
from pathlib import Path

import pytest

from tests.contract.clients.families import HERE, ROOT, Family, find_families

PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
SECTIONS = [section.split("\n", 1) for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]]
SHOWING_CODE = [title for title, text in SECTIONS if re.search(r"^```(?:python|js|ts)$", text, re.MULTILINE)]
PROGRAMS = "".join(file.read_text("utf-8") for file in HERE.glob("*/run.*"))
PYTHON = [family for family in find_families().values() if not family.is_node]


@pytest.mark.parametrize("title", SHOWING_CODE)
def test_a_program_runs_each_block_of_the_page(title: str) -> None:
    assert f'"{title}"' in PROGRAMS


@pytest.mark.parametrize("family", PYTHON, ids=lambda family: family.name)
def test_a_lock_pins_every_package_and_names_no_registry(family: Family) -> None:
    lines = (family.folder / "requirements.txt").read_text("utf-8").splitlines()

    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


@pytest.mark.parametrize("lock", sorted(HERE.glob("*/package-lock.json")), ids=lambda lock: lock.parent.name)
def test_a_lock_of_npm_names_no_registry(lock: Path) -> None:
    assert '"resolved"' not in lock.read_text("utf-8")


def test_ci_drives_families_that_there_are() -> None:
    (named,) = re.findall(r'FAMILIES="([^"]+)"', (ROOT / ".ci" / "run").read_text("utf-8"))

    assert set(named.split()) <= set(find_families())
