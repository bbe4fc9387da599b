"""How many cores this process may use, and how many of them others leave to it. Linux; elsewhere, every core."""

import math
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

# A shorter time holds few of the kernel's ticks of 10 ms.
SAMPLE_S = 0.25
# Fields of a line of /proc/stat, in which a core has nothing to do: idle and iowait.
IDLE_FIELDS = (4, 5)
# guest and guest_nice are part of user and nice.
COUNTED_FIELDS = 9


def available_cores(root: Path = Path("/")) -> int:
    """The cores of this process's affinity, or fewer: its control groups may have a quota of time, rounded up here."""
    quotas = [math.ceil(quota) for quota in _quotas(root)]
    return max(1, min([len(_affinity()), *quotas]))


def _affinity() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _quotas(root: Path) -> Iterator[float]:
    """Cores that each control group around this process may use: of version 2, and of version 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _quotas_of(root / "sys/fs/cgroup", path, ["cpu.max"])
        elif "cpu" in controllers.split(","):
            names = ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
            for mount in (controllers, "cpu"):
                yield from _quotas_of(root / "sys/fs/cgroup" / mount, path, names)


def _quotas_of(mount: Path, path: str, names: list[str]) -> Iterator[float]:
    # In a container the path may be the host's, which is not mounted: the container's own group is then the mount.
    group = mount / path.lstrip("/")
    for folder in [group, *group.parents]:
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            # "max", or -1: no limit.
            if quota != "max" and int(quota) > 0:
                yield int(quota) / int(period)
        except (OSError, ValueError):
            pass
        if folder == mount:
            return


class FreeCores:
    """Measures what other processes take of the cores of this one, between two calls."""

    def __init__(self, cores: int, stat: Path = Path("/proc/stat")) -> None:
        """Take the most that count() gives, and the file that tells how busy each core was."""
        self._cores, self._stat, self._free = cores, stat, cores
        self._sampled = self._times() if cores > 1 else None

    def count(self) -> int:
        """The free cores, rounded, at least 1. Measured anew when the last measurement is 0.25 s old."""
        if self._sampled is None or time.monotonic() - self._sampled[0] < SAMPLE_S:
            return self._free
        before, after = self._sampled, self._times()
        if after is None:
            return self._free
        wall, busy, own = (late - early for early, late in zip(before, after, strict=True))
        others = max(busy - own, 0.0) / wall
        self._sampled = after
        self._free = min(max(math.floor(len(_affinity()) - others + 0.5), 1), self._cores)
        return self._free

    def _times(self) -> tuple[float, float, float] | None:
        """Now, the seconds that all cores of the affinity have been busy, and those of this process."""
        names, ticks = {f"cpu{core}" for core in _affinity()}, os.sysconf("SC_CLK_TCK")
        try:
            lines = [line.split() for line in self._stat.read_text().splitlines()]
        except OSError:
            return None
        counted = [fields for fields in lines if fields and fields[0] in names]
        busy = sum(
            int(field)
            for fields in counted
            for place, field in enumerate(fields[:COUNTED_FIELDS])
            if place and place not in IDLE_FIELDS
        )
        return time.monotonic(), busy / ticks, time.process_time()
