"""README.md: what it shows runs against a server that was started without a configuration."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs import DOCS, run_python, run_shell
from tests.support.server.process import ServerProcess

PAGE = (DOCS.parent / "README.md").read_text("utf-8").replace("http://127.0.0.1:8000", "http://localhost:8000")
COMMANDS = re.findall(r"^```sh\n(curl .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("readme")) as server:
        yield server


def test_its_two_requests_are_answered(hearth: ServerProcess) -> None:
    embeddings, rerank = (json.loads(run_shell(command, hearth.url)) for command in COMMANDS)

    assert [len(item["embedding"]) for item in embeddings["data"]] == [384, 384]
    assert rerank["data"][0]["index"] == 1


def test_its_program_runs(hearth: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    run_python(PROGRAM, hearth.url)

    assert capsys.readouterr().out.startswith("2 ")


def test_it_names_targets_of_the_makefile() -> None:
    targets = re.findall(r"^([a-z-]+):", (DOCS.parent / "Makefile").read_text("utf-8"), re.MULTILINE)
    pages = [PAGE, (DOCS.parent / "CONTRIBUTING.md").read_text("utf-8")]

    assert {name for page in pages for name in re.findall(r"`make ([a-z-]+)", page)} <= set(targets)


def test_it_is_short() -> None:
    assert len(PAGE.splitlines()) <= 120


def test_it_links_the_other_pages() -> None:
    pages = {page.name for page in Path(DOCS).glob("*.md")}

    assert not {name for name in pages if f"docs/{name}" not in PAGE}
