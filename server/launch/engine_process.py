"""The engine process: loads the models of one device and runs their batches. No HTTP, asyncio or tokenization."""

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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from models import (
    Backend,
    DeviceLost,
    LoadOptions,
    ModelError,
    ModelInfo,
    device_name,
    limit_memory,
    load_backend,
    warm_up,
)
from server.config import Batching, LogFormat, LogLevel
from server.engine.batching import BatchLimits
from server.engine.loop import EngineLoop
from server.engine.scheduler import Scheduler
from server.engine.status_page import BEAT_S, StatusPage, status_memory
from server.engine.zmq_transport import ZmqTransport
from server.launch.loading_progress import loading_progress
from server.launch.openmp import set_threads, set_waiting
from server.observability.logs import failures_logged, set_up_logging
from server.observability.metrics import Metrics
from server.registry import ServedModel
from server.shared_memory import SharedMemory

log = logging.getLogger("hearth.engine")

# Exit statuses. The supervisor does not restart a process that cannot load its models.
CANNOT_LOAD = 2
DEVICE_LOST = 3

# The variable of torch's allocators, and its old name.
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")

# Larger forward passes are no faster: on a CPU, activations no longer fit into the cache.
CPU_BATCH_TOKENS = 1024
GPU_BATCH_TOKENS = 16384
# A query waits for half of a part on average; smaller parts take turns more often, but nothing else waits for them.
CPU_CHUNK_TOKENS = 512


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Everything that the process needs; pickled when it is spawned."""

    folder: Path
    sources: Mapping[str, tuple[ModelInfo, LoadOptions]]
    batching: Batching
    log_format: LogFormat
    log_level: LogLevel
    number: int = 0
    gpu_memory: float = 1.0
    status: SharedMemory = field(default_factory=status_memory)

    @property
    def address(self) -> str:
        """The ZeroMQ endpoint. Only this user can read the folder."""
        return f"ipc://{self.folder}/engine-{self.number}"


def by_device(models: Sequence[ServedModel], *, auto: str = "auto") -> dict[str, list[ServedModel]]:
    """The models of each device, in the order in which the devices are first named; `auto` is what "auto" means."""
    devices = [(model, [auto if name == "auto" else name for name in model.config.devices]) for model in models]
    names = {name for _, own in devices for name in own}
    # Resolving names (cuda is cuda:0) imports torch, which takes seconds: only done where names may be equal.
    resolve = (lambda name: name) if len(names) == 1 else device_name
    groups: dict[str, list[ServedModel]] = {}
    for model, own in devices:
        for name in dict.fromkeys(map(resolve, own)):
            groups.setdefault(name, []).append(model)
    return groups


def run_engine(
    settings: EngineSettings, metrics: Metrics, reason: "multiprocessing.connection.Connection[str, str]"
) -> None:
    """The main function of the process. `reason` receives one sentence if it gives up."""
    # Ctrl-C and systemd's SIGTERM reach the whole process group, but HTTP still has requests to finish: the parent
    # ends this process.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    set_threads()
    set_waiting(Path(info.path) for info, _ in settings.sources.values())
    set_allocator()
    set_up_logging(settings.log_format, settings.log_level).dropped = metrics.log_lines_dropped
    with failures_logged("engine", tell=reason.send):
        _run(settings, metrics, reason)


def _run(settings: EngineSettings, metrics: Metrics, reason: "multiprocessing.connection.Connection[str, str]") -> None:
    # Whatever cleans up temporary files may have removed it while the server runs. Made before the next call, which
    # removes it if the parent has died meanwhile.
    settings.folder.mkdir(mode=0o700, exist_ok=True)
    exit_with_parent(settings.folder)
    page = StatusPage(settings.status)
    transport = ZmqTransport(settings.address)
    try:
        if settings.gpu_memory < 1:
            limit_memory(next(iter(settings.sources.values()))[1].device, settings.gpu_memory)
        backends = load_models(settings.sources)
        limits = fitting_limits(make_limits(settings.batching, backends), backends, settings.sources)
        scheduler = Scheduler(backends, limits, metrics.batch, page=page)
        # Objects from loading stay for good: the garbage collector need not visit them in every pause.
        gc.freeze()
        beat(page)
        EngineLoop(scheduler, transport, metrics.queue).run()
    except ModelError as error:
        _give_up(reason, str(error), CANNOT_LOAD)
    except DeviceLost as error:
        _give_up_at_once(reason, f"the device was lost: {error}", DEVICE_LOST)


def set_allocator() -> None:
    """Let torch's memory of a GPU grow in place, before torch is imported. The environment overrides this.

    Each batch has another number of tokens, and blocks of fixed sizes that fit none of the later ones add up.
    """
    if not any(variable in os.environ for variable in ALLOCATOR_VARIABLES):
        os.environ[ALLOCATOR_VARIABLES[0]] = "expandable_segments:True"


def load_models(sources: Mapping[str, tuple[ModelInfo, LoadOptions]]) -> dict[str, Backend]:
    """Load every model in this process.

    Raises: ModelError.
    """
    return {model: _load_model(model, info, options) for model, (info, options) in sources.items()}


def make_limits(batching: Batching, backends: Mapping[str, Backend]) -> BatchLimits:
    """The limits of a batch: as configured, or the default of the device."""
    on_cpu = all(backend.info.device == "cpu" for backend in backends.values())
    max_tokens = batching.max_tokens or (CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)
    return BatchLimits(max_tokens, batching.max_items, _chunk_tokens(batching, backends))


def _chunk_tokens(batching: Batching, backends: Mapping[str, Backend]) -> int:
    if any(backend.info.splits_texts for backend in backends.values()):
        return CPU_CHUNK_TOKENS if batching.chunk_tokens is None else batching.chunk_tokens
    if batching.chunk_tokens:
        log.warning("batching.chunk_tokens changes nothing here: no model can be computed in parts on this device")
    return 0


def fitting_limits(
    limits: BatchLimits, backends: Mapping[str, Backend], sources: Mapping[str, tuple[ModelInfo, LoadOptions]]
) -> BatchLimits:
    """Warm every model up on a GPU, and lower the limits to batches that fit into its memory beside all of them.

    Raises: ModelError, DeviceLost.
    """
    for model, backend in backends.items():
        if backend.info.device != "cpu":
            largest = warm_up(backend, sources[model][0], limits.max_tokens)[-1]
            log.info("%s: a batch of %d tokens takes %.1f ms", model, largest.tokens, largest.seconds * 1000)
            if largest.tokens < limits.max_tokens:
                log.warning("%s: batches of more than %d tokens do not fit into memory", model, largest.tokens)
            limits = replace(limits, max_tokens=largest.tokens)
    return limits


def _load_model(model: str, info: ModelInfo, options: LoadOptions) -> Backend:
    started = time.perf_counter()
    folder = Path(info.path)
    with loading_progress(model, folder) as progress:
        backend = load_backend(folder, info, options, progress)
    how, seconds = backend.info, time.perf_counter() - started
    log.info(
        "%s: %s, ready on %s in %s, run by %s, after %.1f s",
        *(model, info.kind, how.device, how.dtype, how.backend, seconds),
    )
    if info.quantization:
        log.info("%s: its weights are quantised (%s), and were read as plain %s", model, info.quantization, how.dtype)
    log.debug("%s: backend %s, because %s", model, how.backend, how.reason)
    if how.layout_reason:
        log.debug("%s: batch layout %s, because %s", model, how.layout, how.layout_reason)
    return backend


def _give_up(reason: "multiprocessing.connection.Connection[str, str]", sentence: str, status: int) -> None:
    log.error("%s", sentence)
    reason.send(sentence)
    sys.exit(status)


def _give_up_at_once(reason: "multiprocessing.connection.Connection[str, str]", sentence: str, status: int) -> NoReturn:
    """Exit without destructors: those of a device that is lost may never return."""
    log.error("%s", sentence)
    reason.send(sentence)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(status)


def exit_with_parent(folder: Path) -> None:
    """Exit when the process that spawned this one dies, and remove the folder that it could not remove."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a spawned process has a parent"

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, name="hearth-parent", daemon=True).start()


def beat(page: StatusPage) -> None:
    """Give a sign of life every second, from a thread: on a CPU the engine's own computes for a whole batch."""

    def run() -> None:
        while True:
            page.beat()
            time.sleep(BEAT_S)

    threading.Thread(target=run, name="hearth-beat", daemon=True).start()
