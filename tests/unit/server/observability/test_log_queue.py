"""Log lines behind a queue: in order, whole, and never waited for."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic

import pytest

from server.observability.log_queue import FLUSH_S, MAX_WAITING_BYTES, QueuedLog
from tests.support.server.in_process import until

PIPE_BYTES = 64 * 1024


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe that nobody reads yet."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def _log(handler: QueuedLog, message: str) -> None:
    handler.handle(logging.LogRecord("hearth", logging.INFO, "f", 1, message, (), None))


def test_lines_arrive_in_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler = QueuedLog(writer)

    for number in range(1000):
        _log(handler, str(number))
    handler.flush()

    assert os.read(reader, PIPE_BYTES).decode().split() == [str(number) for number in range(1000)]


def test_lines_are_gathered_after_a_write_until_somebody_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.observability.log_queue.GATHER_S", 60)
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # keeps writes apart
    with reader, writer:
        handler = QueuedLog(writer.fileno())

        _log(handler, "a")
        first = reader.recv(PIPE_BYTES)
        _log(handler, "b")
        _log(handler, "c")
        handler.flush()

        assert (first, reader.recv(PIPE_BYTES)) == (b"a\n", b"b\nc\n")


async def test_whoever_logs_does_not_wait_for_the_reader_and_lost_lines_are_counted(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    handler, dropped = QueuedLog(writer), []
    handler.dropped = dropped.append
    line = "x" * 1023  # and its end
    fit = MAX_WAITING_BYTES // 1024

    # As many as the queue, the pipe and the write that waits can take, and ten more.
    for _ in range(fit + PIPE_BYTES // 1024 + 4 + 10):
        _log(handler, line)
    lost = sum(dropped)
    text = b""
    while b"were dropped" not in text:
        text += os.read(reader, PIPE_BYTES)
    _log(handler, "goes on")
    await until(lambda: b"goes on" in os.read(reader, PIPE_BYTES))

    assert 10 <= lost <= 10 + PIPE_BYTES // 1024 + 4
    assert f"{lost} log lines were dropped, because nobody read them in time" in text.decode()
    assert text.count(line.encode()) + lost == fit + PIPE_BYTES // 1024 + 4 + 10


def test_the_end_does_not_wait_for_ever_for_a_reader(pipe: tuple[int, int]) -> None:
    handler = QueuedLog(pipe[1])
    started = monotonic()

    for _ in range(200):
        _log(handler, "x" * 1023)
    handler.flush()

    assert FLUSH_S <= monotonic() - started < FLUSH_S + 5


async def test_lines_to_a_reader_that_has_gone_are_lost_and_counted() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    handler, dropped = QueuedLog(writer), []
    handler.dropped = dropped.append

    _log(handler, "a")
    handler.flush()

    await until(lambda: sum(dropped) == 1)
    os.close(writer)


def test_a_process_that_ends_writes_its_last_lines() -> None:
    script = """
import logging
from server.observability.logs import set_up_logging
set_up_logging("text", "info")
for number in range(500):
    logging.getLogger("hearth").info("line %d", number)
"""

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stderr.count("line ") == 500
    assert result.stderr.endswith("line 499\n")


def test_a_process_without_standard_error_logs_nowhere() -> None:
    script = """
import logging, os
os.open("/dev/null", os.O_RDWR)
from server.observability.logs import set_up_logging
log = set_up_logging("text", "info")
dropped = []
log.dropped = dropped.append
logging.getLogger("hearth").info("hello")
log.flush()
print(sum(dropped))
"""

    result = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, script], stdout=subprocess.PIPE, check=True
    )

    assert result.stdout == b"1\n"
