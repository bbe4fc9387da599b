"""Says in the log how a model's loading goes on, so that minutes of silence do not look like a fault."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from server.launch.openmp import weight_bytes

log = logging.getLogger("hearth.engine")

INTERVAL_S = 5.0


@contextmanager
def loading_progress(model: str, folder: Path, interval_s: float = INTERVAL_S) -> Iterator[Callable[[str], None]]:
    """Log the start of a load, then every few seconds its step and its time. Call the value with each new step."""
    started, ended = perf_counter(), threading.Event()
    steps = ["loading"]

    def report() -> None:
        while not ended.wait(interval_s):
            log.info("%s: still %s, after %.0f s", model, steps[-1], perf_counter() - started)

    log.info("%s: loading %.1f MB of weights", model, weight_bytes(folder) / 1e6)
    thread = threading.Thread(target=report, name="hearth-loading", daemon=True)
    thread.start()
    try:
        yield steps.append
    finally:
        ended.set()
        thread.join()
