"""How many threads torch's OpenMP has, and how the idle ones wait. Must be set before torch is imported."""

import os
from collections.abc import Iterable
from pathlib import Path

from models import available_cores

# About 0.1 ms: longer than the gap between two operators of a large network.
SPINS = "30000"
LARGE_BYTES = 200_000_000


def set_waiting(folders: Iterable[Path]) -> None:
    """Let libgomp's threads sleep at once, or spin a moment first if a model is large. The environment overrides this.

    By default they spin for milliseconds, on cores that HTTP and the tokenizers need. Between the operators of a large
    network they should stay awake, or a forward pass takes a quarter longer (docs/decisions.md, 17).
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        return
    if any(weight_bytes(folder) >= LARGE_BYTES for folder in folders):
        os.environ["GOMP_SPINCOUNT"] = SPINS
    else:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def set_threads() -> None:
    """Let torch use no more threads than the quota of this container has cores. The environment overrides this.

    OpenMP counts the cores of the machine: with 64 threads on 2 cores every operator waits for threads without a core.
    """
    if (cores := available_cores()) < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


def weight_bytes(folder: Path) -> int:
    # A GGUF file beside safetensors is not read.
    files = list(folder.glob("*.safetensors")) or list(folder.glob("*.gguf"))
    return sum(file.stat().st_size for file in files)
