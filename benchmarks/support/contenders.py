"""Implementations that turn a workload into vectors: the packed backend, and the two libraries as people use them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.support.workloads import Ids, Workload, mixed, query, rerank, uniform
from models import Backend, Item, LoadOptions, Readout, load_backend, load_preprocessor

Matrix = NDArray[np.float32]
Contender = Callable[[Workload], Matrix]
Clock = Callable[[], float]

# The tokens that the server puts into one forward pass on a CPU; on a GPU it is 16 times as many.
BATCH_TOKENS = 1024
VECTOR = Readout("vector")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work a device gets: the tokens of a batch, and numbers of texts that fill several batches."""

    batch_tokens: int
    uniform: int
    mixed: int
    documents: int
    batch_sizes: tuple[int, ...]  # those tried with sentence-transformers, besides its default of 32


CPU_SCALE = Scale(BATCH_TOKENS, uniform=16, mixed=64, documents=100, batch_sizes=(1, 2, 4, 8, 16))
GPU_SCALE = Scale(16 * BATCH_TOKENS, uniform=256, mixed=768, documents=800, batch_sizes=(64, 128, 256))


def scale_of(device: torch.device) -> Scale:
    return GPU_SCALE if device.type == "cuda" else CPU_SCALE


def packed(backend: Backend, batch_tokens: int = BATCH_TOKENS) -> Contender:
    """The packed backend over batches as the server forms them: in order, by unique tokens."""

    def run(workload: Workload) -> Matrix:
        rows = []
        *before, last = batches(workload.ids, batch_tokens)
        for batch in before:
            rows += backend.launch([Item(ids, VECTOR) for ids in batch], keep_prefix=True).rows()
        rows += backend.launch([Item(ids, VECTOR) for ids in last]).rows()
        return np.stack(rows)

    return run


def batches(texts: Sequence[Ids], batch_tokens: int = BATCH_TOKENS) -> list[list[Ids]]:
    """Split texts, in order, into batches of up to `batch_tokens` tokens; a prefix of the text before costs nothing."""
    split: list[list[Ids]] = [[]]
    room = batch_tokens
    for number, ids in enumerate(texts):
        before = texts[number - 1] if number else ids[:0]
        same = min(len(before), len(ids))
        differs = np.flatnonzero(before[:same] != ids[:same])
        new = len(ids) - (int(differs[0]) if len(differs) else same)
        if split[-1] and new > room:
            split.append([])
            room = batch_tokens
        split[-1].append(ids)
        room -= new
    return split


def transformers_padded(folder: Path, batch: int, device: torch.device) -> Contender:
    """The library's network over right-padded batches in the order given."""
    import transformers

    loaded = transformers.AutoModel.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
    network = loaded.eval().to(device)

    @torch.inference_mode()
    def run(workload: Workload) -> Matrix:
        rows = []
        for first in range(0, len(workload.ids), batch):
            part = [torch.from_numpy(ids).long() for ids in workload.ids[first : first + batch]]
            lengths = torch.tensor([len(ids) for ids in part])
            tokens = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
            mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()
            inputs = {"input_ids": tokens.to(device), "attention_mask": mask.to(device)}
            hidden = network(**inputs, use_cache=False).last_hidden_state
            rows.append(hidden[torch.arange(len(part)), lengths - 1].float().cpu().numpy())
        return np.concatenate(rows)

    return run


def sentence_transformers(folder: Path, device: torch.device) -> Callable[[int], Contender]:
    """SentenceTransformer.encode as a function of the batch size; it sorts by length itself."""
    import sentence_transformers

    model = sentence_transformers.SentenceTransformer(
        str(folder), device=str(device), model_kwargs={"dtype": torch.bfloat16}
    )

    def of(batch: int) -> Contender:
        return lambda workload: np.asarray(
            model.encode(list(workload.texts), batch_size=batch, convert_to_numpy=True, show_progress_bar=False)
        )

    return of


def plan(folder: Path, device: torch.device, seeds: int, clock: Clock) -> list[tuple[Workload, dict[str, Contender]]]:
    """Every workload with the contenders that run it, ours first."""
    scale, options = scale_of(device), LoadOptions(dtype="bfloat16", device=str(device), backend="packed")
    ours = packed(load_backend(folder, load_preprocessor(folder).info, options), scale.batch_tokens)
    library = transformers_padded(folder, 32, device)
    st = sentence_transformers(folder, device)
    if device.type == "cuda":
        st(32)(query(4))  # the first call also loads kernels
    best = best_batch(st, scale.batch_sizes, mixed(0, scale.mixed), clock)
    st_pair = {"sentence-transformers, batch 32": st(32), f"sentence-transformers, batch {best}": st(best)}
    shared = replace(rerank(scale.documents), name=f"rerank, 1 x {scale.documents}")
    return [
        (uniform(scale.uniform), {"packed": ours, "transformers, batch 32": library, **st_pair}),
        *((mixed(seed, scale.mixed), {"packed": ours, **st_pair}) for seed in range(seeds)),
        (shared, {"packed": ours, "transformers, batch 32": library}),
        (rerank(scale.documents, shared=False), {"packed": ours}),
        *((query(tokens), {"packed": ours, "transformers": library}) for tokens in (4, 16, 64)),
    ]


def best_batch(library: Callable[[int], Contender], sizes: Sequence[int], workload: Workload, clock: Clock) -> int:
    """The batch size at which the library is fastest on this machine."""
    return min(sizes, key=lambda batch: min(timed(lambda: library(batch)(workload), clock) for _ in range(2)))


def timed(call: Callable[[], object], clock: Clock) -> float:
    """The seconds that a call takes."""
    start = clock()
    call()
    return clock() - start


def clock_of(device: torch.device) -> Clock:
    """Wall-clock seconds, read after the device has finished its queued work."""
    if device.type != "cuda":
        return time.perf_counter

    def read() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return read
