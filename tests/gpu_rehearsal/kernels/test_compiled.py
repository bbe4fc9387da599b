"""Every kernel compiles for every card, keeps its numbers in registers, and copies 16 bytes at a time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed: make gpu-rehearsal")

ROOT = Path(__file__).parents[3]
# A100, A10, L4 and 4090, H100 and H200, B200, and 5090.
CAPABILITIES = (80, 86, 89, 90, 100, 120)
SECONDS = 280


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_no_kernel_spills(capability: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu_rehearsal.kernels.compiler", str(capability)]
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}

    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )

    assert done.returncode == 0, done.stderr
    kernels = json.loads(done.stdout)
    assert {name: kernel["stack"] + kernel["spills"] for name, kernel in kernels.items()} == dict.fromkeys(kernels, 0)
    assert all(kernel["wide_copies"] for kernel in kernels.values()), "rows are copied in pieces of fewer bytes"
    assert not any(kernel["narrow_copies"] for kernel in kernels.values()), "numbers are copied one by one"
    assert [name for name, kernel in kernels.items() if kernel["products"]] == [
        "attention of all tokens",
        "attention of the ends",
    ]
