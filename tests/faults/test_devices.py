"""Models on several devices: an engine process for each."""

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.contract.asking import V1
from tests.contract.process import Hearth
from tests.faults.stand import FakeModel, ask, children, pid_of, send, until


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_device_that_is_lost_leaves_the_other_one_serving(
    start: Callable[..., Hearth], tmp_path: Path, workers: int
) -> None:
    first, second = FakeModel(tmp_path / "first"), FakeModel(tmp_path / "second")
    first.config |= {"id": "first", "device": "cpu"}
    second.config |= {"id": "second", "device": "cuda:1"}
    hearth = start(first, second, workers=workers)
    one, other, *_ = children(pid_of(hearth))

    def status(model: str) -> int:
        return httpx.post(f"{hearth.url}{V1}", json={"input": "a", "model": model}, trust_env=False).status_code

    await until(hearth, lambda: status("first") == status("second") == 200)
    send([one], signal.SIGSTOP)
    send([other], signal.SIGKILL)
    await until(hearth, lambda: ask(hearth, "/ready").status_code == 503)
    send([one], signal.SIGCONT)
    served_meanwhile = status("first")
    await until(hearth, lambda: ask(hearth, "/ready").status_code == 200)

    assert served_meanwhile == 200
    assert status("second") == 200
    hearth.terminate()
    assert hearth.end() == 0
