"""The scheduler of one device: accepts requests, launches and collects batches, answers each request once.

It belongs to one thread, which does nothing else. step() never waits; wait_s() says how long its owner may.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from time import perf_counter

from models import Backend, BackendInfo, Item, Row, SplitPass
from server.engine.batching import CALLER_S, AdaptiveBatchLimits, BatchLimits, Job, JobQueue, Key, Part, take_batch
from server.engine.cost_model import CostModel
from server.engine.in_flight import BatchCollector, InFlightBatch, Origin, RequestState, launch, unique_tokens
from server.engine.messages import BatchStats, EngineFailure, EngineRequest, EngineResult, EngineState, QueueStats
from server.engine.status_page import StatusPage

log = logging.getLogger("hearth.engine")

Answer = tuple[Key, EngineResult | EngineFailure]
# The second batch is chosen when the first has this many times the host's share of a batch left to run. Chosen when
# the first starts, it would make every later query wait for one batch more; chosen at its end, the device would idle.
BIND_AT_HOST_TIMES = 1.5
# How often to look whether a batch is done.
POLL_S = 50e-6


class Scheduler:
    """The backends and the queue of one device.

    `record` gets the figures of every batch that ends. `clock` counts seconds. `page` tells others what is in flight.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        limits: BatchLimits,
        record: Callable[[BatchStats], None] = lambda _: None,
        clock: Callable[[], float] = perf_counter,
        page: StatusPage | None = None,
    ) -> None:
        self._backends = backends
        self._batch_limits = AdaptiveBatchLimits(limits)
        self._longest_whole = limits.max_tokens if limits.chunk_tokens else float("inf")
        self._collector = BatchCollector(backends, self._batch_limits, self._start_clock)
        self._record = record
        self._clock = clock
        self._page = page or StatusPage()
        # The requests without an answer, and the jobs of those of them that have items to launch.
        self._requests: dict[Key, RequestState] = {}
        self._waiting = JobQueue()
        # The launched tokens of the requests that were launched in part since launched_tokens() was last asked.
        self._begun: dict[Key, int] = {}
        # When each caller of late sent its last request.
        self._callers: dict[str, float] = {}
        self._in_flight: deque[InFlightBatch] = deque()
        self._cost_models = {model: CostModel() for model in backends}
        self._free_since = clock()
        # A CPU computes within launch(): a second batch would gain nothing and be chosen too early.
        self._depth = 1 if all(backend.info.device == "cpu" for backend in backends.values()) else 2

    @property
    def info(self) -> dict[str, BackendInfo]:
        """How each model is run, by model id."""
        return {model: backend.info for model, backend in self._backends.items()}

    def state(self) -> EngineState:
        """The items that have not been launched, and the speed of each model."""
        return EngineState(
            "ready",
            {
                model: QueueStats(*self._waiting.waiting(model), cost_model.tokens_per_s)
                for model, cost_model in self._cost_models.items()
            },
        )

    def launched_tokens(self) -> dict[Key, int]:
        """The tokens that were launched of each request that still waits with others; those that changed meanwhile."""
        begun, self._begun = self._begun, {}
        return begun

    def add(self, key: Key, request: EngineRequest) -> int:
        """Queue a request; `key` identifies it to drop() and in its answer. Returns the tokens to compute for it."""
        job = self._job(key, request)
        self._callers[request.caller] = job.arrived
        self._requests[key] = RequestState(request, job)
        self._waiting.add(job)
        return job.tokens

    def _job(self, key: Key, request: EngineRequest) -> Job:
        info = self._backends[request.model].info
        longest_whole = self._longest_whole if info.splits_texts else float("inf")
        lengths = [len(ids) for ids in request.ids]
        # A text in parts shares no batch.
        neighbours = pairwise([False, *(length > longest_whole for length in lengths)])
        shared = [
            tokens if info.shares_prefixes and not any(split) else 0
            for tokens, split in zip(request.shared.tolist(), neighbours, strict=True)
        ]
        at = self._clock() if request.sent_at is None else min(request.sent_at, self._clock())
        return Job(key, request.model, lengths, shared, at, request.alone, request.caller, longest_whole)

    def drop(self, key: Key) -> None:
        """Forget a request: its items that have not been launched never run."""
        self._requests.pop(key, None)
        self._waiting.drop(key)
        self._begun.pop(key, None)

    def wait_s(self) -> float | None:
        """How long step() has nothing to do unless a request arrives; None is without limit."""
        if not self._in_flight:
            return 0.0 if self._waiting else None
        if self._in_flight[0].pending.done() or self._may_launch():
            return 0.0
        return POLL_S

    def step(self) -> list[Answer]:
        """Launch a batch if one is due, else collect one that is done.

        Send the answers before the next step, which on a CPU computes a whole batch.

        Raises: DeviceLost: no waiting request will be answered.
        """
        if self._may_launch():
            self._launch()
        elif self._in_flight and self._in_flight[0].pending.done():
            return self._collect(self._in_flight.popleft())
        return []

    def _may_launch(self) -> bool:
        if len(self._in_flight) >= self._depth or not self._waiting:
            return False
        if not self._in_flight:
            return True
        if self._waiting.holds_alone:
            return False
        batch = self._in_flight[0]
        return self._left_s(batch) <= BIND_AT_HOST_TIMES * self._cost_models[batch.model].host_s

    def _left_s(self, batch: InFlightBatch) -> float:
        started_at = max(batch.launched_at, self._free_since)
        return started_at + self._cost_models[batch.model].seconds(batch.tokens) - self._clock()

    def _launch(self) -> None:
        launched_at = self._clock()
        states, origins, part = self._take_batch(launched_at)
        model = states[0].request.model
        items = [Item(state.request.ids[index], state.request.readout) for state, index in origins]
        if part:
            items = [self._part_of(items[0], states[0], part)]
        for state in states:
            state.started_at = state.started_at or launched_at
        self._note_in_flight(states)
        tokens = part.tokens if part else unique_tokens(origins)
        if not self._in_flight:
            self._start_clock(model, origins, tokens, part)
        keep_prefix = any(state.job.waiting for state in states)
        pending = launch(self._backends[model], items, keep_prefix=keep_prefix)
        host_s = self._clock() - launched_at
        # A text in parts joins no batch, so a batch beside it need not be full.
        is_full = bool(part) or self._waiting.may_join(model)
        self._in_flight.append(
            InFlightBatch(
                model, states, origins, items, pending, tokens, launched_at, host_s, is_full=is_full, part=part
            )
        )

    def _part_of(self, item: Item, state: RequestState, part: Part) -> Item:
        if state.split is None:
            state.split = SplitPass(exact=self._backends[state.request.model].info.dtype == "float32")
        return Item(item.ids, item.readout, state.split, part.until)

    def _note_in_flight(self, launched: Sequence[RequestState] = ()) -> None:
        states = (*(state for batch in self._in_flight for state in batch.states), *launched)
        self._page.hold(dict.fromkeys(state.job.key for state in states), alone=any(s.job.alone for s in launched))

    def _start_clock(self, model: str, origins: Sequence[Origin], tokens: int, part: Part | None = None) -> None:
        longest = max([state.job.lengths[index] for state, index in origins])
        # The work of a part counts its attention.
        tokens, longest = (int(part.work), 1) if part else (tokens, longest)
        self._page.start(self._cost_models[model].hang_limit_s(tokens, longest))

    def _take_batch(self, now: float) -> tuple[list[RequestState], list[Origin], Part | None]:
        """The requests of the next batch, and their inputs in it; if it is a part of one, which."""
        seconds_per_token = {model: cost_model.seconds_per_token for model, cost_model in self._cost_models.items()}
        items = take_batch(self._waiting, self._limits(now), now, seconds_per_token)
        states = {key: self._requests[key] for key in dict.fromkeys([item.key for item in items])}
        for key, state in states.items():
            if state.job.waiting:
                self._begun[key] = state.job.tokens - state.job.waiting_tokens
            else:
                self._begun.pop(key, None)
        return list(states.values()), [(states[item.key], item.index) for item in items], items[0].part

    def _limits(self, now: float) -> BatchLimits:
        """The limits of the next batch. A short one is taken while it would keep another caller waiting."""
        limits = self._batch_limits.limits
        self._callers = {caller: at for caller, at in self._callers.items() if now - at < CALLER_S}
        if len(self._callers | dict.fromkeys(self._waiting.callers)) < 2:
            return limits
        shared_tokens = min(self._cost_models[model].shared_tokens for model in self._waiting.models)
        return replace(limits, max_tokens=int(max(min(limits.max_tokens, shared_tokens), 1)))

    def _collect(self, batch: InFlightBatch) -> list[Answer]:
        rows = self._collector.rows(batch)
        now = self._clock()
        device_s = now - max(batch.launched_at, self._free_since)
        self._free_since = now
        self._page.complete()
        self._note_in_flight()
        if self._in_flight:
            following = self._in_flight[0]
            self._start_clock(following.model, following.origins, following.tokens, following.part)
        work = round(batch.part.work) if batch.part else batch.tokens
        self._cost_models[batch.model].record(work, device_s, batch.host_s, is_full=batch.is_full)
        fill = work / self._batch_limits.limits.max_tokens
        self._record(BatchStats(batch.model, len(batch.items), batch.tokens, fill, batch.host_s, device_s))
        for state in batch.states:
            state.batches += 1
            state.forward_s += device_s
        if batch.part and self._goes_on(batch.part, *batch.origins[0], rows[0]):
            return []
        return self._hand_out(batch.origins, rows)

    def _goes_on(self, part: Part, state: RequestState, index: int, row: Row | EngineFailure) -> bool:
        """Whether an input needs further parts after this one."""
        if not isinstance(row, EngineFailure) and part.until < 1:
            return True
        split, state.split = state.split, None
        is_exact, is_dropped = split is None or split.exact, self._requests.get(state.job.key) is not state
        if not isinstance(row, EngineFailure) or row.reason != "non_finite" or is_exact or is_dropped:
            return False
        # A text with NaN is computed again with float32 activations: a backend does so for whole texts by itself.
        state.split = SplitPass(exact=True)
        self._waiting.drop(state.job.key)
        state.job.restart(index)
        self._waiting.add(state.job)
        self._begun[state.job.key] = state.job.tokens - state.job.waiting_tokens
        return True

    def _hand_out(self, origins: Sequence[Origin], rows: Sequence[Row | EngineFailure]) -> list[Answer]:
        answers = [self._store(state, index, row) for (state, index), row in zip(origins, rows, strict=True)]
        return [answer for answer in answers if answer is not None]

    def _store(self, state: RequestState, index: int, row: Row | EngineFailure) -> Answer | None:
        key = state.job.key
        # Compare by identity: a new request may have the key of a dropped one.
        if self._requests.get(key) is not state:
            return None
        if isinstance(row, EngineFailure):
            self.drop(key)
            return key, replace(row, id=state.request.id, index=index)
        state.rows[index] = row
        if len(state.rows) < len(state.request.ids):
            return None
        self.drop(key)
        return key, state.result()
