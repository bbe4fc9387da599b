"""make gpu on a machine without a CUDA device: it runs nothing, and says why."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_make_gpu_without_a_cuda_device_says_so_and_fails() -> None:
    command = ["make", "--silent", "gpu", f"PYTHON={sys.executable}"]
    # Without what a make above this test hands down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == (
        "make gpu needs a CUDA device, and torch finds none; make gpu-rehearsal runs the tests on a simulated one"
    )
