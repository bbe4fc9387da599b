"""The engine process: loads the models of one device and runs their batches. No HTTP, no asyncio, no tokenizing."""

import gc
import logging
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models import Backend, DeviceLost, LoadOptions, ModelError, ModelInfo, device_name, load_backend
from server.config import Batching, LogFormat
from server.engine.batching import BatchLimits
from server.engine.loop import EngineLoop
from server.engine.scheduler import Scheduler
from server.engine.zmq_transport import ZmqTransport
from server.launch.openmp import set_waiting
from server.observability.logs import set_up_logging
from server.observability.metrics import Metrics
from server.registry import ServedModel


def by_device(models: Sequence[ServedModel]) -> dict[str, list[ServedModel]]:
    """The models of each device, in the order in which the devices are first named."""
    asked = {name for model in models for name in model.config.devices}
    # Only where it matters: torch takes seconds to import, and this process needs nothing else of it.
    resolve = (lambda name: name) if len(asked) == 1 else device_name
    groups: dict[str, list[ServedModel]] = {}
    for model in models:
        for name in dict.fromkeys(map(resolve, model.config.devices)):
            groups.setdefault(name, []).append(model)
    return groups


log = logging.getLogger("hearth.engine")

# Exit statuses that the supervisor tells apart.
CANNOT_LOAD = 2
DEVICE_LOST = 3

# Beyond these a forward pass gains nothing: on a CPU activations leave the cache.
CPU_BATCH_TOKENS = 1024
GPU_BATCH_TOKENS = 16384


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Everything the process needs; travels to it when it is spawned."""

    folder: Path
    sources: Mapping[str, tuple[ModelInfo, LoadOptions]]
    batching: Batching
    log_format: LogFormat
    batch_timeout_s: float
    number: int = 0

    @property
    def address(self) -> str:
        """Where the engine listens; the folder is readable by this user alone."""
        return f"ipc://{self.folder}/engine-{self.number}"


def run_engine(settings: EngineSettings, reason: "multiprocessing.connection.Connection[str, str]") -> None:
    """The process's main function. `reason` takes a sentence when it has to give up."""
    # Ctrl-C and systemd's SIGTERM reach the whole group, and the HTTP side still has requests to finish: it ends us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    set_waiting(Path(info.path) for info, _ in settings.sources.values())
    set_up_logging(settings.log_format)
    end_with_parent(settings.folder)
    port = ZmqTransport(settings.address)
    try:
        backends = load(settings.sources)
        log_backends(backends)
        metrics = Metrics()
        worker = Scheduler(backends, make_limits(settings.batching, backends), metrics.batch)
        # What loading made stays: the collector need not walk it in every pause.
        gc.freeze()
        end_when_stuck(worker, settings.batch_timeout_s)
        EngineLoop(worker, port, metrics.queue).run()
    except ModelError as error:
        _give_up(reason, str(error), CANNOT_LOAD)
    except DeviceLost as error:
        _give_up(reason, f"the device was lost: {error}", DEVICE_LOST)


def load(sources: Mapping[str, tuple[ModelInfo, LoadOptions]]) -> dict[str, Backend]:
    """Load every model.

    Raises: ModelError.
    """
    return {model: load_backend(Path(info.path), info, options) for model, (info, options) in sources.items()}


def make_limits(batching: Batching, backends: Mapping[str, Backend]) -> BatchLimits:
    """The budget of a batch: as configured, or what suits the device."""
    on_cpu = all(backend.info.device == "cpu" for backend in backends.values())
    return BatchLimits(batching.max_tokens or (CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS), batching.max_items)


def log_backends(backends: Mapping[str, Backend]) -> None:
    """Say how each model is run."""
    for model, backend in backends.items():
        info = backend.info
        log.info("%s: ready on %s, %s, by %s (%s)", model, info.device, info.dtype, info.backend, info.reason)
        if info.layout_reason:
            log.info("%s: texts are %s, because %s", model, info.layout, info.layout_reason)


def _give_up(reason: "multiprocessing.connection.Connection[str, str]", sentence: str, status: int) -> None:
    log.error("%s", sentence)
    reason.send(sentence)
    sys.exit(status)


def end_with_parent(folder: Path) -> None:
    """Let this process die with the one that spawned it, and clean up what that one could not."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a spawned process has a parent to die with"

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, name="hearth-parent", daemon=True).start()


def end_when_stuck(worker: Scheduler, timeout_s: float) -> None:
    """End this process when a batch runs longer than any request may take: nobody waits, and the device hangs."""

    def watch() -> None:
        while worker.batch_s() < timeout_s:
            time.sleep(min(timeout_s / 4, 1))
        log.error("a batch has been running for %g s: the device hangs", timeout_s)
        os._exit(DEVICE_LOST)

    threading.Thread(target=watch, name="hearth-stuck", daemon=True).start()
