"""Rules that choose the next batch, ours and those of other servers: jobs and limits in, batch items out. No clock."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from server.engine.batching import BatchItem, BatchLimits, Job, JobQueue, take_batch

# When the next batch is bound while one runs: at the running batch's start, shortly before its end, or at its end.
Binding = Literal["start", "late", "end"]
Take = Callable[[Sequence[Job], BatchLimits, float, float], list[BatchItem]]

# vllm 0.2x: max_num_seqs of a server on large GPUs is 1,024, elsewhere 256 (vllm/engine/arg_utils.py).
VLLM_MAX_SEQS = 256


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule and the moment at which it is applied."""

    name: str
    take: Take
    binding: Binding
    shares: bool = False  # batches are shorter while callers share the device


def by_ratio(jobs: Sequence[Job], limits: BatchLimits, now: float, seconds_per_token: float) -> list[BatchItem]:
    """The server's own rule."""
    queue = JobQueue(sorted(jobs, key=lambda job: job.arrived))
    return take_batch(queue, limits, now, {job.model: seconds_per_token for job in jobs})


def by_ratio_alone(jobs: Sequence[Job], limits: BatchLimits, now: float, seconds_per_token: float) -> list[BatchItem]:
    """The same without shares: it does not tell callers apart."""
    for job in jobs:
        job.caller = ""
    return by_ratio(jobs, limits, now, seconds_per_token)


def by_ratio_of_rest(jobs: Sequence[Job], limits: BatchLimits, now: float, seconds_per_token: float) -> list[BatchItem]:
    """The same with the ratio taken to the rest of a job: its last batches overtake every query."""
    for job in jobs:
        job.service_tokens = max(job.waiting_tokens, 1)
    return by_ratio(jobs, limits, now, seconds_per_token)


def fifo(jobs: Sequence[Job], limits: BatchLimits, now: float, seconds_per_token: float) -> list[BatchItem]:
    """Texts in the order of their arrival, until one does not fit."""
    return _in_order(jobs, limits, counts_shared=False)


def tei(jobs: Sequence[Job], limits: BatchLimits, now: float, seconds_per_token: float) -> list[BatchItem]:
    """text-embeddings-inference: texts in the order of their arrival, each with all of its tokens, until one does not
    fit (core/src/queue.rs). It binds when the batch before starts: the channel between queue and model holds one batch.
    """
    return _in_order(jobs, limits, counts_shared=True)


def vllm(jobs: Sequence[Job], limits: BatchLimits, now: float, seconds_per_token: float) -> list[BatchItem]:
    """vLLM: first come, first served under a token budget and a maximum number of sequences; a text is a sequence."""
    capped = BatchLimits(limits.max_tokens, min(limits.max_items, VLLM_MAX_SEQS))
    return _in_order(jobs, capped, counts_shared=True)


def _in_order(jobs: Iterable[Job], limits: BatchLimits, *, counts_shared: bool) -> list[BatchItem]:
    items: list[BatchItem] = []
    tokens = 0
    for job in sorted(jobs, key=lambda job: job.arrived):
        joins = False
        while job.waiting:
            cost = job.next_cost(joins=joins and not counts_shared)
            if items and (tokens + cost > limits.max_tokens or len(items) >= limits.max_items):
                return items
            tokens += cost
            items.append(BatchItem(job.key, job.take()))
            joins = True
    return items


OURS = Policy("Hearth, second batch bound late", by_ratio, "late", shares=True)
POLICIES = (
    OURS,
    Policy("Hearth, bound at the first's start", by_ratio, "start", shares=True),
    Policy("Hearth, bound at the first's end", by_ratio, "end", shares=True),
    Policy("Hearth, late, ratio to what is left", by_ratio_of_rest, "late", shares=True),
    Policy("Hearth, late, batches of callers in full", by_ratio, "late"),
    Policy("Hearth, late, without callers' shares", by_ratio_alone, "late"),
    Policy("FIFO, bound late", fifo, "late"),
    Policy("TEI's rule", tei, "start"),
    Policy("vLLM's rule", vllm, "end"),
)
