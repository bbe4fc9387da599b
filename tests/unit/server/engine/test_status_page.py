"""What an engine tells about itself in shared memory, and when others say that it hangs."""

from pathlib import Path

import pytest

from server.engine.status_page import SILENCE_S, StatusPage, StatusReader, page_path


@pytest.fixture
def page(tmp_path: Path) -> StatusPage:
    """The page of an engine."""
    return StatusPage.create(tmp_path / "page")


def _check_until(reader: StatusReader, start_s: float, end_s: float) -> str:
    """Check twice a second and return the last reason."""
    return [reader.check(half / 2) for half in range(int(2 * start_s), int(2 * end_s) + 1)][-1]


def test_the_page_lies_beside_the_socket() -> None:
    assert page_path("ipc:///folder/engine-1") == Path("/folder/engine-1.status")


def test_an_engine_that_stops_beating_hangs_until_it_beats_again(page: StatusPage, tmp_path: Path) -> None:
    reader = StatusReader(tmp_path / "page")

    page.beat()
    before = _check_until(reader, 0, SILENCE_S)
    silent = _check_until(reader, SILENCE_S + 0.5, SILENCE_S + 1)
    page.beat()

    assert before == ""
    assert silent == "it has given no sign of life for 4.5 s"
    assert reader.check(100) == ""


def test_an_engine_that_loads_its_models_does_not_hang(page: StatusPage, tmp_path: Path) -> None:
    assert _check_until(StatusReader(tmp_path / "page"), 0, 100) == ""


def test_a_batch_over_its_limit_hangs_though_the_engine_beats(page: StatusPage, tmp_path: Path) -> None:
    reader = StatusReader(tmp_path / "page")

    page.start(2)
    reader.check(0)
    before = _check_until(reader, 0.5, 2)
    hung = reader.check(2.5)
    page.complete()

    assert before == ""
    assert hung == "a batch has been running for 2.5 s, over its limit of 2.0 s"
    assert reader.check(3) == ""


def test_a_pause_of_the_reader_is_not_counted(page: StatusPage, tmp_path: Path) -> None:
    reader = StatusReader(tmp_path / "page")

    page.beat()
    reader.check(0)

    assert reader.check(1000) == ""


def test_what_was_in_flight_can_be_read_after_the_next_engine_started(page: StatusPage, tmp_path: Path) -> None:
    reader = StatusReader(tmp_path / "page")

    page.hold([(b"H1234567", 7), (b"H7654321", 8), (b"H1234567", 9)], alone=False)
    StatusPage.create(tmp_path / "page")

    assert reader.in_flight(b"H1234567") == {7, 9}
    assert StatusReader(tmp_path / "page").in_flight(b"H1234567") == set()
