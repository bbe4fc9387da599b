"""Cores are counted as the kernel grants them: the affinity, the quotas of control groups, and what others take."""

import os
import time
from pathlib import Path

import pytest

from models import cores
from models.cores import FreeCores, available_cores

V2, V1 = "0::/app\n", "4:cpu,cpuacct:/docker/abc\n0::/\n"


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_affinity", lambda: range(16))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (V2, {}, 16),
        (V2, {"app/cpu.max": "max 100000\n"}, 16),
        (V2, {"app/cpu.max": "200000 100000\n"}, 2),
        (V2, {"app/cpu.max": "150000 100000\n"}, 2),
        (V2, {"app/cpu.max": "10000 100000\n"}, 1),
        (V2, {"app/cpu.max": "9900000 100000\n"}, 16),
        (V2, {"app/cpu.max": "800000 100000\n", "cpu.max": "400000 100000\n"}, 4),
        ("0::/not/mounted/here\n", {"cpu.max": "300000 100000\n"}, 3),
        (V2, {"app/cpu.max": "nonsense\n"}, 16),
        (V1, {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "-1\n"}, 16),
        (
            V1,
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (V1, {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 1),
    ],
)
def test_quotas_of_containers_count(tmp_path: Path, groups: str, files: dict[str, str], expected: int) -> None:
    write(tmp_path, {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{name}": text for name, text in files.items()})

    assert available_cores(tmp_path) == expected


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == 16


class Clocks:
    """Two cores of which others have used `others` core-seconds, and this process `own`."""

    def __init__(self, stat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stat, self.now, self.own, self.others = stat, 0.0, 0.0, 0.0
        monkeypatch.setattr(cores, "_affinity", lambda: range(2))
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "process_time", lambda: self.own)
        self._write()

    def run(self, wall: float, *, own: float, others: float) -> None:
        self.now, self.own, self.others = self.now + wall, self.own + own, self.others + others
        self._write()

    def _write(self) -> None:
        ticks = os.sysconf("SC_CLK_TCK")
        used = round((self.own + self.others) * ticks)
        # A third core that is not ours is busy all the time; idle, iowait and guest time do not count.
        self._stat.write_text(f"cpu 9 9\ncpu0 {used} 0 0 777 77 0 0 0 55 0\ncpu1 0 0 0 8 8 0 0 0 0 0\ncpu2 99999 0\n")


@pytest.mark.parametrize(
    ("own", "others", "free"),
    [(2.0, 0.0, 2), (0.0, 0.0, 2), (1.6, 0.4, 2), (1.0, 1.0, 1), (0.5, 1.5, 1), (0.0, 2.0, 1)],
)
def test_what_others_use_is_not_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: float, others: float, free: int
) -> None:
    clocks = Clocks(tmp_path / "stat", monkeypatch)
    counted = FreeCores(2, tmp_path / "stat")

    clocks.run(1.0, own=own, others=others)

    assert counted.count() == free


def test_cores_that_were_taken_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(tmp_path / "stat", monkeypatch)
    counted = FreeCores(2, tmp_path / "stat")
    clocks.run(1.0, own=1.0, others=1.0)
    assert counted.count() == 1

    clocks.run(0.1, own=0.2, others=0.0)
    assert counted.count() == 1, "too short a time to judge by"
    clocks.run(0.9, own=1.0, others=0.0)
    assert counted.count() == 2


def test_where_nothing_tells_how_busy_cores_are_all_are_free(tmp_path: Path) -> None:
    assert FreeCores(4, tmp_path / "missing").count() == 4
