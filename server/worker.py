"""The engine's thread: takes what waits, runs it batch by batch, answers each request once."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from models import Backend, BackendInfo, DeviceLost, Item, ModelError, NonFinite, OutOfMemory, Row
from server.batching import Entry, Job, Limits, take_batch
from server.config import Batching
from server.link import Done, Failed, Phase, State, Timings, Work
from server.metrics import Metrics

log = logging.getLogger("hearth.engine")

Deliver = Callable[[int, Done | Failed], None]
# Beyond these a forward pass gains nothing: on CPU activations leave the cache.
CPU_BATCH_TOKENS = 1024
GPU_BATCH_TOKENS = 16384
# How much the newest batch counts in the measured token rate.
RATE_WEIGHT = 0.2


@dataclass(slots=True)
class _Running:
    """A request in the engine. Owned by the worker thread, except for `job`, which the lock guards."""

    work: Work
    job: Job
    submitted: float
    started: float = 0.0
    forward_s: float = 0.0
    batches: int = 0
    rows: dict[int, Row] = field(default_factory=dict)


class Worker:
    """One thread that owns the backends. put(), drop(), stop() and state() may be called from any thread."""

    def __init__(
        self,
        load: Callable[[], Mapping[str, Backend]],
        limits: Batching,
        metrics: Metrics,
        deliver: Deliver,
        on_failure: Callable[[], None],
    ) -> None:
        self._load = load
        self._configured = limits
        self._limits = Limits(CPU_BATCH_TOKENS, limits.max_items)
        self._metrics = metrics
        self._deliver = deliver
        self._on_failure = on_failure
        self._backends: Mapping[str, Backend] = {}
        self._running: dict[int, _Running] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._phase: Phase = "loading"
        self._reason = ""
        self._tokens_per_s = 0.0
        self._thread = threading.Thread(target=self._main, name="hearth-engine", daemon=True)

    @property
    def info(self) -> Mapping[str, BackendInfo]:
        """How each loaded model is run, by id."""
        return {model: backend.info for model, backend in self._backends.items()}

    def start(self) -> None:
        """Start the thread, which loads the models first."""
        self._thread.start()

    def put(self, work: Work) -> None:
        """Add a request to what waits."""
        job = Job(work.id, work.model, tuple(len(item.ids) for item in work.items))
        with self._changed:
            self._running[work.id] = _Running(work, job, perf_counter())
            self._changed.notify()

    def drop(self, work_id: int) -> None:
        """Forget a request: what of it has not run never will."""
        with self._changed:
            self._running.pop(work_id, None)

    def stop(self) -> None:
        """Finish what waits, then end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def state(self) -> State:
        """How the worker is; takes a short lock, never waits for a batch."""
        with self._changed:
            jobs = [running.job for running in self._running.values()]
            items = sum(job.waiting for job in jobs)
            tokens = sum(job.waiting_tokens for job in jobs)
        return State(self._phase, items, tokens, self._tokens_per_s, self._reason)

    def _main(self) -> None:
        try:
            self._backends = self._load()
        except ModelError as error:
            self._fail(str(error))
            return
        except Exception as error:
            log.exception("loading failed")
            self._fail(f"{type(error).__name__}: {error}")
            return
        self._limits = _limits(self._configured, self.info)
        self._phase = "ready"
        for model, info in self.info.items():
            log.info("%s: ready on %s, %s, by %s (%s)", model, info.device, info.dtype, info.backend, info.reason)
        while entries := self._next():
            self._run(entries)

    def _fail(self, reason: str) -> None:
        log.error("the engine stopped: %s", reason)
        with self._changed:
            self._phase, self._reason = "failed", reason
            lost, self._running = list(self._running), {}
        for work_id in lost:
            self._deliver(work_id, Failed("unavailable"))
        self._on_failure()

    def _next(self) -> list[Entry]:
        with self._changed:
            while True:
                entries = take_batch([running.job for running in self._running.values()], self._limits)
                if entries or self._stopping or self._phase == "failed":
                    return entries
                self._changed.wait()

    def _run(self, entries: Sequence[Entry]) -> None:
        present = [(entry, running) for entry in entries if (running := self._running.get(entry.job))]
        if not present:
            return
        items = [running.work.items[entry.index] for entry, running in present]
        started = perf_counter()
        for _, running in present:
            running.started = running.started or started
        try:
            answers = self._forward(present[0][1].work.model, items)
        except DeviceLost as error:
            self._fail(f"the device was lost: {error}")
            return
        except Exception:  # the thread's edge: these requests fail, the next batch runs
            log.exception("a batch of %d items failed", len(items))
            answers = [Failed("internal")] * len(items)
        self._note(items, present, perf_counter() - started)
        for (entry, running), answer in zip(present, answers, strict=True):
            self._take(running, entry.index, answer)

    def _forward(self, model: str, items: Sequence[Item]) -> list[Row | Failed]:
        try:
            return list(self._backends[model].launch(items).rows())
        except NonFinite as error:
            bad = set(error.indexes)
            return [Failed("non_finite") if place in bad else row for place, row in enumerate(error.rows)]
        except OutOfMemory:
            if len(items) == 1:
                return [Failed("out_of_memory")]
        log.warning("out of memory with %d items, halving the batch", len(items))
        half = len(items) // 2
        return self._forward(model, items[:half]) + self._forward(model, items[half:])

    def _note(self, items: Sequence[Item], present: Sequence[tuple[Entry, _Running]], seconds: float) -> None:
        tokens = sum(len(item.ids) for item in items)
        rate = tokens / max(seconds, 1e-9)
        self._tokens_per_s += (rate - self._tokens_per_s) * (RATE_WEIGHT if self._tokens_per_s else 1)
        self._metrics.batch(len(items), tokens, seconds)
        for running in {running.work.id: running for _, running in present}.values():
            running.batches += 1
            running.forward_s += seconds

    def _take(self, running: _Running, index: int, answer: Row | Failed) -> None:
        work_id = running.work.id
        if work_id not in self._running:
            return
        if isinstance(answer, Failed):
            self.drop(work_id)
            self._deliver(work_id, replace(answer, index=index))
            return
        running.rows[index] = answer
        if len(running.rows) == len(running.work.items):
            self.drop(work_id)
            self._deliver(work_id, _done(running))


def _done(running: _Running) -> Done:
    rows = tuple(running.rows[index] for index in range(len(running.work.items)))
    queue_s = running.started - running.submitted
    return Done(rows, Timings(queue_s, running.forward_s, running.batches))


def _limits(configured: Batching, loaded: Mapping[str, BackendInfo]) -> Limits:
    on_cpu = all(info.device == "cpu" for info in loaded.values())
    tokens = configured.max_tokens or (CPU_BATCH_TOKENS if on_cpu else GPU_BATCH_TOKENS)
    return Limits(tokens, configured.max_items)
