"""A soak: mixed traffic with faults at random, and whether every request is answered rightly and nothing leaks.

    python -m benchmarks.soak [--minutes 30] [--clients 8] [--pause 0.05] [--fault-every 6] [--out FILE]

Two HTTP processes and two engines: the demo pair on one, a fake model that a poison input ends on the other. In the
first part of the run every process may be killed. Then one HTTP process and the engine of the demo pair are spared, so
that their memory, descriptors and threads can be compared between a warm and a later quiet moment. The exit status is 1
if anything that the page lists did not hold.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.support.client import metrics
from benchmarks.support.report import RESULTS, Rows, machine, markdown, show, write
from benchmarks.support.server import FakeModel, ServerProcess, serve
from benchmarks.support.soak_clients import Traffic, running
from benchmarks.support.soak_faults import Faults, LogReader, Processes
from benchmarks.support.soak_requests import every_call
from models import demo_models, load_preprocessor

KEY = "key-of-the-soak"
POISON = "X"
# Parts of the run: every process may be killed until SPARED; memory is compared from WARM to the end.
SPARED, WARM = 0.4, 0.6
# Longer than freed memory is kept.
SETTLE_S = 15.0
MAX_GROWTH = 0.02
MAX_PROBE_S = 5.0
# A pool of threads or connections may still have grown a little since it was warm.
SLACK = 2
# Below it, memory has not settled, and its growth is told without a verdict.
MIN_MINUTES_FOR_MEMORY = 10
MINUTE = (
    "minute",
    "requests",
    "right",
    "refused",
    "left",
    "lost with its process",
    "wrong or no answer",
    "slowest /live s",
    "faults",
    "RSS MiB of supervisor, HTTP, engine",
    "descriptors",
    "threads",
)


RSS_COLUMN = MINUTE.index("RSS MiB of supervisor, HTTP, engine")
WATCHED = ("supervisor", "HTTP process", "engine")
COLOURS = ("#888", "#c0603a", "#2f7d4f")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds."""

    rss_mib: float
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Usage":
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(int(fields["VmRSS"].split()[0]) / 1024, descriptors, int(fields["Threads"]))


@dataclass
class Record:
    """What was seen: a row for each minute, and the processes at two quiet moments."""

    minutes: list[list[str]] = field(default_factory=list)
    warm: dict[str, Usage] = field(default_factory=dict)
    end: dict[str, Usage] = field(default_factory=dict)
    left_over: dict[str, float] = field(default_factory=dict)
    slowest_probe_s: float = 0.0

    def add_minute(
        self, outcomes: Counter[str], faults: Counter[str], slowest_probe_s: float, processes: Processes
    ) -> None:
        """Add the row of a minute: what happened in it, and what the processes hold at its end."""
        self.slowest_probe_s = max(self.slowest_probe_s, slowest_probe_s)
        refused = sum(count for outcome, count in outcomes.items() if outcome.startswith("refused"))
        counts = [outcomes["right"], refused, outcomes["left"], outcomes["lost with its process"], _bad(outcomes)]
        usages: list[Usage] = []
        with suppress(OSError, ValueError, KeyError):  # a process is away
            usages = [Usage.of(pid) for pid in watched(processes).values()]
        row = [f"{len(self.minutes) + 1}", f"{outcomes.total():,}", *(f"{count:,}" for count in counts)]
        row += [f"{slowest_probe_s:.1f}"]
        row += [", ".join(f"{name} x{count}" if count > 1 else name for name, count in faults.items())]
        row += [" / ".join(f"{usage.rss_mib:.0f}" for usage in usages)]
        row += [" / ".join(f"{usage.descriptors}" for usage in usages)]
        row += [" / ".join(f"{usage.threads}" for usage in usages)]
        self.minutes.append(row)


@contextmanager
def soaked_server(folder: Path, log: LogReader) -> Iterator[ServerProcess]:
    """The server of a soak; its keys are in `folder`/keys."""
    (folder / "keys").write_text(f"{KEY}\n", "utf-8")
    [token] = load_preprocessor(Path(demo_models()[0])).tokenizer.encode([POISON])[0].tolist()
    fake = FakeModel(folder / "fake", lost=token)
    models = [*({"path": path, "device": "cpu"} for path in demo_models()), fake.config | {"device": "cuda:1"}]
    config = {"models": models, "workers": 2, "auth": {"keys_file": str(folder / "keys")}, "log_format": "json"}
    with serve(config, log.write_end) as server:
        yield server


def watched(processes: Processes) -> dict[str, int]:
    """The processes of the table, by name."""
    engine, *_ = processes.engines()
    worker, *_ = processes.workers()
    return dict(zip(WATCHED, (processes.main, worker, engine), strict=True))


async def soak(
    server: ServerProcess, folder: Path, log: LogReader, options: argparse.Namespace
) -> tuple[Record, Traffic, Faults]:
    """Run for options.minutes."""
    processes, record = Processes(server), Record()
    traffic = Traffic(server.address, every_call(KEY), options.pause)
    await traffic.learn()
    faults = Faults(processes, traffic, log, folder / "keys", KEY, POISON, server.address, options.seed)
    seconds = options.minutes * 60
    async with running(traffic, options.clients), _minutes(record, traffic, faults, seconds):
        await _part(faults, options.fault_every, SPARED * seconds)
        await _all_ready(processes)
        kept = watched(processes)
        faults.spared |= set(kept.values())
        await _part(faults, options.fault_every, (WARM - SPARED) * seconds)
        async with traffic.quiet(SETTLE_S):
            record.warm = {name: Usage.of(pid) for name, pid in kept.items()}
        await _part(faults, options.fault_every, (1 - WARM) * seconds)
        async with traffic.quiet(SETTLE_S):
            record.end = {name: Usage.of(pid) for name, pid in kept.items()}
            record.left_over = await _left_over(server)
    return record, traffic, faults


async def _part(faults: Faults, every_s: float, seconds: float) -> None:
    task = asyncio.create_task(faults.run(every_s))
    await asyncio.sleep(seconds)
    faults.stop()
    await task


async def _all_ready(processes: Processes) -> None:
    async with asyncio.timeout(60):
        while len(processes.engines()) < 2 or len(processes.workers()) < 2:  # noqa: ASYNC110 (no event tells)
            await asyncio.sleep(0.5)


async def _left_over(server: ServerProcess) -> dict[str, float]:
    """Requests that the server believes to be in progress, other than the one that asks."""
    totals = await metrics(server.address, KEY)
    return {"in flight": totals["hearth_requests_in_flight"] - 1, "in the queue": totals["hearth_queue_items"]}


@asynccontextmanager
async def _minutes(record: Record, traffic: Traffic, faults: Faults, seconds: float) -> AsyncIterator[None]:
    """Show the progress, and add a row to the record each minute."""

    async def watch() -> None:
        columns = BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns) as bar:
            task = bar.add_task("", total=seconds)
            started, before, faults_before = time.monotonic(), Counter[str](), Counter[str]()
            while True:
                await asyncio.sleep(1)
                now, outcomes = time.monotonic() - started, traffic.tally.outcomes
                bar.update(task, completed=now, description=_told(outcomes))
                if now >= 60 * (len(record.minutes) + 1):
                    grown, new = outcomes - before, faults.injected - faults_before
                    before, faults_before = outcomes.copy(), faults.injected.copy()
                    record.add_minute(grown, new, traffic.take_slowest_probe_s(), faults.processes)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


def _told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())


def _bad(outcomes: Counter[str]) -> int:
    return outcomes["wrong"] + outcomes["no answer"]


def verdicts(
    record: Record, traffic: Traffic, faults: Faults, log: LogReader, minutes: float
) -> list[tuple[str, bool]]:
    """Each thing that must hold, and whether it did."""
    outcomes = traffic.tally.outcomes
    growth = {name: record.end[name].rss_mib / usage.rss_mib - 1 for name, usage in record.warm.items()}
    told = ", ".join(f"{name} {value:+.1%}" for name, value in growth.items())
    is_long = minutes >= MIN_MINUTES_FOR_MEMORY
    return [
        (
            f"every request had an answer: {outcomes.total():,} sent, {outcomes['no answer']} without",
            not outcomes["no answer"],
        ),
        (f"every answer was right, or a documented refusal: {outcomes['wrong']} were not", not outcomes["wrong"]),
        (f"every fault was overcome: {faults.failures or 'all were'}", not faults.failures),
        (
            f"memory grew by at most {MAX_GROWTH:.0%} since it was warm: {told}",
            not is_long or max(growth.values()) <= MAX_GROWTH,
        ),
        (
            "no descriptor leaked",
            all(record.end[name].descriptors <= warm.descriptors + SLACK for name, warm in record.warm.items()),
        ),
        (
            "no thread leaked",
            all(record.end[name].threads <= warm.threads + SLACK for name, warm in record.warm.items()),
        ),
        (
            f"the slowest /live took {record.slowest_probe_s:.1f} s, at most {MAX_PROBE_S:g} s",
            record.slowest_probe_s <= MAX_PROBE_S,
        ),
        (f"nothing is left in progress: {record.left_over}", not any(record.left_over.values())),
        (f"the log of {log.lines:,} lines has no traceback: {log.unusual[:3]}", not log.unusual),
    ]


def draw(minutes: Sequence[Sequence[str]]) -> str:
    """The memory of the watched processes at the end of each minute, in SVG."""
    measured = [[float(mib) for mib in row[RSS_COLUMN].split(" / ")] for row in minutes if row[RSS_COLUMN]]
    width, height = 640, 260
    across = (width - 160) / max(len(measured) - 1, 1)
    down = (height - 40) / max((mib for row in measured for mib in row), default=1.0)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    lines.append(f'<rect width="{width}" height="{height}" fill="#fff"/>')
    for series, colour, name in zip(zip(*measured, strict=True), COLOURS, WATCHED, strict=False):
        points = [(20 + across * place, height - 20 - down * mib) for place, mib in enumerate(series)]
        path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = points[-1]
        lines.append(f'<text x="{x + 6:.0f}" y="{y:.0f}" font-size="13" fill="{colour}">{name} {series[-1]:.0f}</text>')
    lines.append('<text x="20" y="14" font-size="12">resident MiB, minute by minute</text></svg>')
    return "\n".join(lines) + "\n"


def outcomes_table(traffic: Traffic) -> Rows:
    """What became of each kind of request."""
    outcomes = [outcome for outcome, _ in traffic.tally.outcomes.most_common()]
    kinds = sorted({kind for kind, _ in traffic.tally.by_kind})
    rows = [[kind, *(_count(traffic.tally.by_kind[kind, outcome]) for outcome in outcomes)] for kind in kinds]
    total = ["all", *(_count(traffic.tally.outcomes[outcome]) for outcome in outcomes)]
    return [["request", *outcomes], *rows, total]


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def processes_table(record: Record) -> Rows:
    """The spared processes at the two quiet moments."""
    return [
        ["process", "RSS MiB warm", "at the end", "descriptors warm", "at the end", "threads warm", "at the end"],
        *(
            [
                name,
                f"{warm.rss_mib:.1f}",
                f"{end.rss_mib:.1f}",
                f"{warm.descriptors}",
                f"{end.descriptors}",
                f"{warm.threads}",
                f"{end.threads}",
            ]
            for (name, warm), end in zip(record.warm.items(), record.end.values(), strict=True)
        ),
    ]


def faults_table(faults: Faults) -> Rows:
    """How often each fault was injected, and how long it took to replace a process."""
    rows = [
        [kind, f"{count}", f"{faults.longest_s[kind]:.1f}" if kind in faults.longest_s else ""]
        for kind, count in sorted(faults.injected.items())
    ]
    return [["fault", "times", "longest until ready again, s"], *rows]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Mixed traffic with faults at random.")
    parser.add_argument("--minutes", type=float, default=30, help="duration of the run")
    parser.add_argument("--clients", type=int, default=8, help="concurrent clients")
    parser.add_argument("--pause", type=float, default=0.05, help="mean seconds between two requests of a client")
    parser.add_argument("--fault-every", type=float, default=6, help="mean seconds between two faults")
    parser.add_argument("--seed", type=int, default=0, help="of the faults")
    parser.add_argument("--out", type=Path, default=RESULTS / "soak.md", help="the page to write")
    copy = Path(tempfile.gettempdir()) / "hearth-soak.log"
    parser.add_argument("--log", type=Path, default=copy, help="where a copy of the server's log goes")
    return parser.parse_args()


def main() -> int:
    options, where = arguments(), machine()
    log = LogReader(options.log)
    # The report does not wait for the server's end, which may be a fault too.
    with tempfile.TemporaryDirectory() as name, soaked_server(Path(name), log) as server:
        record, traffic, faults = asyncio.run(soak(server, Path(name), log, options))
        held = verdicts(record, traffic, faults, log, options.minutes)
        report(record, traffic, faults, held, options, where)
    return int(not all(is_held for _, is_held in held))


def report(
    record: Record,
    traffic: Traffic,
    faults: Faults,
    held: list[tuple[str, bool]],
    options: argparse.Namespace,
    where: str,
) -> None:
    """Show the tables and write them to the page."""
    tables = {
        "What held": [["", "held"], *([what, "yes" if is_held else "NO"] for what, is_held in held)],
        "Every minute": [MINUTE, *record.minutes],
        "Processes that were not killed, at two quiet moments": processes_table(record),
        "Faults": faults_table(faults),
        "Requests": outcomes_table(traffic),
    }
    for title, rows in tables.items():
        show(title, rows)
    for example in traffic.tally.examples:
        print(example)
    command = f"`python -m benchmarks.soak --minutes {options.minutes:g}`"
    about = f"{command}, {options.clients} clients on the same machine: {where}"
    picture = options.out.with_suffix(".svg")
    write(picture, draw(record.minutes))
    page = f"# Soak\n\n{about}\n\n![Memory by minute]({picture.name})\n"
    write(options.out, page, *(markdown(title, rows) for title, rows in tables.items()))


if __name__ == "__main__":
    sys.exit(main())
