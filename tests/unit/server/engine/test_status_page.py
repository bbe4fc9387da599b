"""What an engine tells about itself in shared memory, and when others say that it hangs."""

import pytest

from server.engine.status_page import SILENCE_S, StatusPage, StatusReader, status_memory
from server.shared_memory import SharedMemory


@pytest.fixture
def memory() -> SharedMemory:
    """The memory for the pages of an engine."""
    return status_memory()


@pytest.fixture
def page(memory: SharedMemory) -> StatusPage:
    """The page of an engine."""
    return StatusPage(memory)


def _check_until(reader: StatusReader, start_s: float, end_s: float) -> str:
    """Check twice a second and return the last reason."""
    return [reader.check(half / 2) for half in range(int(2 * start_s), int(2 * end_s) + 1)][-1]


def test_before_an_engine_there_is_no_page_of_any_process(memory: SharedMemory) -> None:
    assert StatusReader(memory).pid == 0


def test_an_engine_that_stops_beating_hangs_until_it_beats_again(page: StatusPage, memory: SharedMemory) -> None:
    reader = StatusReader(memory)

    page.beat()
    before = _check_until(reader, 0, SILENCE_S)
    silent = _check_until(reader, SILENCE_S + 0.5, SILENCE_S + 1)
    page.beat()

    assert before == ""
    assert silent == "it has given no sign of life for 4.5 s"
    assert reader.check(100) == ""


def test_an_engine_that_loads_its_models_does_not_hang(page: StatusPage, memory: SharedMemory) -> None:
    assert _check_until(StatusReader(memory), 0, 100) == ""


def test_a_batch_over_its_limit_hangs_though_the_engine_beats(page: StatusPage, memory: SharedMemory) -> None:
    reader = StatusReader(memory)

    page.start(2)
    reader.check(0)
    before = _check_until(reader, 0.5, 2)
    hung = reader.check(2.5)
    page.complete()

    assert before == ""
    assert hung == "a batch has been running for 2.5 s, over its limit of 2.0 s"
    assert reader.check(3) == ""


def test_a_pause_of_the_reader_is_not_counted(page: StatusPage, memory: SharedMemory) -> None:
    reader = StatusReader(memory)

    page.beat()
    reader.check(0)

    assert reader.check(1000) == ""


def test_what_was_in_flight_can_be_read_after_the_next_engine_started(page: StatusPage, memory: SharedMemory) -> None:
    reader = StatusReader(memory)

    page.hold([(b"H1234567", 7), (b"H7654321", 8), (b"H1234567", 9)], alone=False)
    StatusPage(memory)

    assert reader.in_flight(b"H1234567") == {7, 9}
    assert StatusReader(memory).in_flight(b"H1234567") == set()


def test_a_page_that_is_used_again_is_empty(page: StatusPage, memory: SharedMemory) -> None:
    page.hold([(b"H1234567", 7)], alone=True)
    page.beat()

    StatusPage(memory)
    StatusPage(memory)
    reader = StatusReader(memory)

    assert reader.in_flight(b"H1234567") == set()
    assert (reader.alone, reader.completed) == (False, 0)
    assert _check_until(reader, 0, 100) == ""


def test_requests_beyond_the_room_of_a_page_are_left_out(page: StatusPage, memory: SharedMemory) -> None:
    page.hold([(b"H1234567", number) for number in range(100_000)], alone=False)

    assert 8000 < len(StatusReader(memory).in_flight(b"H1234567")) < 8192
