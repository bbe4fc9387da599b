"""How torch's idle threads wait for the next operator. To be set before torch is imported."""

import os

# About 0.1 ms: longer than the gap between two operators, shorter than what HTTP beside it would miss.
SPINS = "30000"


def spin_briefly() -> None:
    """Let libgomp's threads spin a moment before they sleep, unless the environment says how they wait.

    By default they spin for milliseconds on cores that HTTP and the tokenizers need; when they sleep at once, a forward
    pass on a CPU takes a fifth longer (docs/decisions.md, 17).
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
