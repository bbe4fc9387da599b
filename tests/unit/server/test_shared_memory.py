"""Memory that a process shares with those that it spawns."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from server.shared_memory import ByMemory, SharedMemory
from tests.support.server.child_processes import write_byte, write_last


def test_a_spawned_process_writes_to_the_memory_of_its_parent() -> None:
    memory = SharedMemory(3)
    process = multiprocessing.get_context("spawn").Process(target=write_byte, args=(memory, 1, 7))

    process.start()
    process.join()

    assert process.exitcode == 0
    assert (len(memory), list(memory.view)) == (3, [0, 7, 0])


def test_a_large_argument_arrives_as_its_value_and_shared_memory_within_it_is_shared() -> None:
    memory = SharedMemory(3)
    arguments = ByMemory((memory, bytes(2**20), 7))
    process = multiprocessing.get_context("spawn").Process(target=write_last, args=(arguments,))

    process.start()
    process.join()

    assert process.exitcode == 0
    assert list(memory.view) == [0, 0, 7]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is a file that has no name")
def test_no_file_system_holds_it() -> None:
    memory = SharedMemory(4096)

    lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:hearth" in line]

    assert len(memory) == 4096
    assert lines


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is a file that has no name")
def test_a_system_that_gives_none_is_one_sentence() -> None:
    script = """
import resource, signal
from server.config import ConfigError
from server.shared_memory import ByMemory, SharedMemory
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    SharedMemory(4096)
except ConfigError as error:
    print(error)
"""

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout == "the system gives no 4096 bytes of memory to share: File too large\n"
