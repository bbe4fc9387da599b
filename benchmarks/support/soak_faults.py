"""The faults of a soak, at random: signals to processes, a log that nobody reads, keys, poison, rude clients."""

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.support.client import Address
from benchmarks.support.server import ServerProcess
from benchmarks.support.soak_clients import Traffic
from benchmarks.support.soak_requests import post, wire

# A process that ends 5 times within 60 s is given up, as it should be; a soak stays below that.
BETWEEN_ENDS_S = 20.0
ENDS_A_PROCESS = ("engine killed", "engine stopped", "HTTP process killed", "poison input")
# Shorter than any hang is noticed after.
PAUSE_S = 1.0
LOG_STALL_S = 15.0
HELD_CONNECTIONS, HOLD_S = 150, 5.0
REQUESTS_AHEAD = 200
READY_TIMEOUT_S = 60.0
# The flags of a socket in /proc/net/unix that listens.
LISTENS = "00010000"


class LogReader:
    """The reader of the server's log. While it stalls, the pipe fills."""

    def __init__(self, copy: Path) -> None:
        """Lines are copied to the file `copy`, so that what happened to a request can be looked up."""
        read_end, self.write_end = os.pipe()
        self._copy = copy
        self._reading = threading.Event()
        self._reading.set()
        self.lines = 0
        self.unusual: list[str] = []
        threading.Thread(target=self._read, args=(read_end,), daemon=True).start()

    def stall(self) -> None:
        self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    def _read(self, read_end: int) -> None:
        with os.fdopen(read_end, errors="replace") as pipe, self._copy.open("w", encoding="utf-8") as copy:
            for line in pipe:
                self._reading.wait()
                self.lines += 1
                copy.write(line)
                if "Traceback" in line:
                    self.unusual.append(line.strip())


class Processes:
    """Which process of a server is which."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.main = server.pid

    def engines(self) -> list[int]:
        """The engine processes, in the order of their devices."""
        sockets = _listening_sockets(self._server.folder)
        by_path = {sockets[name]: pid for pid in self._server.children() for name in _open_files(pid) & sockets.keys()}
        return [by_path[path] for path in sorted(by_path)]

    def workers(self) -> list[int]:
        """The HTTP processes, oldest first."""
        engines = self.engines()
        return [pid for pid in self._server.children() if pid not in engines]


def _listening_sockets(folder: Path) -> dict[str, str]:
    """The socket files below a folder at which a process listens, by the name of the socket in /proc/PID/fd."""
    lines = Path("/proc/net/unix").read_text("ascii", "replace").splitlines()
    rows = [line.split() for line in lines if str(folder) in line]
    return {f"socket:[{row[6]}]": row[7] for row in rows if row[3] == LISTENS}


def _open_files(pid: int) -> set[str]:
    names = set()
    with suppress(OSError):  # the process, or a file, is gone
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                names.add(str(file.readlink()))
    return names


@dataclass
class Faults:
    """Injects a fault now and then. Processes in `spared` are paused at most."""

    processes: Processes
    traffic: Traffic
    log: LogReader
    keys_file: Path
    key: str
    poison: str
    address: Address
    seed: int = 0
    spared: set[int] = field(default_factory=set)
    injected: Counter[str] = field(default_factory=Counter)
    longest_s: dict[str, float] = field(default_factory=dict)
    """By fault: the longest time until the process was replaced and the server ready."""
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)
        self._last_end = 0.0
        self._stopping = asyncio.Event()

    async def run(self, every_s: float) -> None:
        """Inject one fault after another until stop()."""
        self._stopping.clear()
        while not self._stopping.is_set():
            await self.inject(self._rng.choice(list(self.kinds())))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._rng.uniform(0.5, 1.5) * every_s)

    def stop(self) -> None:
        """Let run() return once the present fault is over."""
        self._stopping.set()

    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Every fault by name."""
        return {
            "engine killed": lambda: self._end_engine(signal.SIGKILL),
            "engine stopped": lambda: self._end_engine(signal.SIGSTOP),
            "engine paused for a second": lambda: self._pause(self.processes.engines()),
            "HTTP process killed": self._kill_worker,
            "HTTP process paused for a second": lambda: self._pause(self.processes.workers()),
            "poison input": self._send_poison,
            "log reader stalls": self._stall_log,
            "keys changed": self._change_keys,
            "keys file broken": self._break_keys,
            "idle connections": lambda: self._hold(b""),
            "half heads": lambda: self._hold(b"POST /v1/embeddings HTTP/1.1\r\nhost: soak\r\nx:"),
            "half bodies": lambda: self._hold(self._half_body()),
            "requests sent ahead": lambda: self._hold(b"GET /nothing HTTP/1.1\r\nhost: soak\r\n\r\n" * REQUESTS_AHEAD),
            "answers that nobody reads": lambda: self._hold(self._large_request()),
        }

    async def inject(self, kind: str) -> None:
        """Inject one fault, and wait until its cause is gone."""
        if kind in ENDS_A_PROCESS:
            await asyncio.sleep(max(0.0, self._last_end + BETWEEN_ENDS_S - time.monotonic()))
            self._last_end = time.monotonic()
        self.injected[kind] += 1
        started = time.monotonic()
        await self.kinds()[kind]()
        if kind in ENDS_A_PROCESS:
            self.longest_s[kind] = max(self.longest_s.get(kind, 0.0), time.monotonic() - started)

    async def _end_engine(self, number: signal.Signals) -> None:
        if victim := self._choose(self.processes.engines()):
            os.kill(victim, number)
            await self._gone(victim)

    async def _kill_worker(self) -> None:
        if victim := self._choose(self.processes.workers()):
            self.traffic.killed_at.append(time.monotonic())
            os.kill(victim, signal.SIGKILL)
            await self._gone(victim)

    def _choose(self, pids: Sequence[int]) -> int | None:
        victims = [pid for pid in pids if pid not in self.spared]
        return self._rng.choice(victims) if victims else None

    async def _gone(self, pid: int) -> None:
        """Wait until a process was replaced."""
        end = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < end:
            with suppress(OSError):
                if pid not in self.processes.engines() + self.processes.workers() and await self._is_ready():
                    return
            await asyncio.sleep(0.2)
        self.failures.append(f"process {pid} was not replaced, or the server not ready, within {READY_TIMEOUT_S:g} s")

    async def _is_ready(self) -> bool:
        return b" 200 " in await self._ask(wire("GET", "/ready", None, self.key), 16)

    async def _pause(self, pids: Sequence[int]) -> None:
        victim = self._rng.choice(pids)
        os.kill(victim, signal.SIGSTOP)
        await asyncio.sleep(PAUSE_S)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGCONT)

    async def _send_poison(self) -> None:
        """An input that ends the engine of the fake model each time it runs."""
        text = f"{self.poison} {self._rng.random()}"
        head = await self._ask(post("/v1/embeddings", {"input": text, "model": "fake"}, self.key), 16)
        if b" 500 " not in head and b" 503 " not in head:
            self.failures.append(f"poison was answered with {head!r}")

    async def _stall_log(self) -> None:
        self.log.stall()
        await asyncio.sleep(LOG_STALL_S)
        self.log.resume()

    async def _change_keys(self) -> None:
        """Keys come and go; the one that the traffic uses stays."""
        new = f"key-{self._rng.random()}"
        await self._reload(f"{self.key}\n{new}\n")
        await self._expect(new, b" 200 ")
        await self._reload(f"{self.key}\n")
        await self._expect(new, b" 401 ")

    async def _break_keys(self) -> None:
        await self._reload("# no key\n")
        await asyncio.sleep(PAUSE_S)
        await self._expect(self.key, b" 200 ")
        await self._reload(f"{self.key}\n")

    async def _reload(self, text: str) -> None:
        self.keys_file.write_text(text, "utf-8")
        os.kill(self.processes.main, signal.SIGHUP)

    async def _expect(self, key: str, status: bytes) -> None:
        """Wait until every HTTP process answers a key so."""
        end, agreed = time.monotonic() + READY_TIMEOUT_S, 0
        while agreed < 2 * len(self.processes.workers()):
            agreed = agreed + 1 if status in await self._ask(wire("GET", "/v1/models", None, key), 16) else 0
            if time.monotonic() > end:
                self.failures.append(f"a key is not answered with{status.decode()}after {READY_TIMEOUT_S:g} s")
                return
            await asyncio.sleep(0.05)

    async def _hold(self, data: bytes) -> None:
        """Many connections that send something and then nothing, and read nothing."""
        streams = []
        for _ in range(HELD_CONNECTIONS):
            with suppress(OSError):
                streams.append(await asyncio.open_connection(*self.address))
                streams[-1][1].transport.pause_reading()
                streams[-1][1].write(data)
        await asyncio.sleep(HOLD_S)
        for _, writer in streams:
            writer.transport.abort()

    def _half_body(self) -> bytes:
        head = wire("POST", "/v1/embeddings", None, self.key, {"content-length": "1000000"})
        return head + b'{"input": "' + b"x" * 100_000

    def _large_request(self) -> bytes:
        return post("/v1/embeddings", {"input": [f"text {number}" for number in range(50)]}, self.key)

    async def _ask(self, request: bytes, count: int) -> bytes:
        """The first bytes of an answer; empty if the connection is lost."""
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(READY_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(*self.address)
                writer.write(request)
                try:
                    return await reader.readexactly(count)
                finally:
                    writer.close()
        return b""
