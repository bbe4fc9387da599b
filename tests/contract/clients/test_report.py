"""What becomes of a program's lines."""

import json
from subprocess import CompletedProcess

from tests.contract.clients.page import _lines
from tests.contract.clients.report import CELLS, Report, judge


def _ran(*said: dict[str, object], status: int = 0, log: str = "") -> CompletedProcess[str]:
    lines = [json.dumps({"client": "c 1.0", "note": "", **line}) for line in said]
    return CompletedProcess([], status, "a warning\n" + "\n".join(lines), log)


def _whole(**others: dict[str, object]) -> Report:
    said = [{"cell": cell, "ok": True, **others.get(cell, {})} for cell in CELLS]
    return judge("family", _ran(*said))


def test_a_client_that_did_everything_has_no_red_cell() -> None:
    report = _whole()

    assert report.clients == ["c 1.0"]
    assert not report.red
    assert report.summary == "10 green, 0 red, 0 not applicable"


def test_a_cell_that_a_program_leaves_out_is_red() -> None:
    report = judge("family", _ran({"cell": "embed", "ok": True}))

    assert len(report.red) == len(CELLS) - 1
    assert "c 1.0, batch: left out" in report.red


def test_a_false_cell_is_red_and_says_why() -> None:
    assert _whole(retry={"ok": False, "note": "asked 1 times"}).red == ["c 1.0, retry: asked 1 times"]


def test_a_program_that_breaks_is_red_though_all_its_cells_were_green() -> None:
    said = [{"cell": cell, "ok": True} for cell in CELLS]

    (red,) = judge("family", _ran(*said, status=1, log="Traceback ...")).red

    assert red == "family: its program ended with status 1:\nTraceback ..."


def test_a_program_that_says_nothing_is_red() -> None:
    assert judge("family", _ran()).red


def test_the_page_numbers_each_reason_once() -> None:
    why = {"ok": None, "note": "it has no rerank"}

    page = "\n".join(_lines([_whole(rerank=why, rerank_texts=why)]))

    assert "| c 1.0 | ✔ | ✔ | ✔ | ✔ | ✔ | – <sup>1</sup> | – <sup>1</sup> | ✔ | ✔ | ✔ |" in page
    assert page.count("It has no rerank.") == 1
