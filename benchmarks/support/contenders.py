"""Ways to turn a workload into vectors: the packed backend, and the two libraries as people use them."""

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

# What a server would put in one forward on a CPU; a GPU takes 16 times as many.
BATCH_TOKENS = 1024
VECTOR = Readout("vector")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much a device is given: the tokens of a batch, and numbers of texts that fill several batches."""

    batch_tokens: int
    uniform: int
    mixed: int
    documents: int
    batch_sizes: tuple[int, ...]  # of sentence-transformers, beside its default of 32


CPU_SCALE = Scale(BATCH_TOKENS, uniform=16, mixed=64, documents=100, batch_sizes=(1, 2, 4, 8, 16))
GPU_SCALE = Scale(16 * BATCH_TOKENS, uniform=256, mixed=768, documents=800, batch_sizes=(64, 128, 256))


def scale_of(device: torch.device) -> Scale:
    """What fits the device."""
    return GPU_SCALE if device.type == "cuda" else CPU_SCALE


def packed(backend: Backend, batch_tokens: int = BATCH_TOKENS) -> Contender:
    """The packed backend, cut into batches as a server cuts them: by unique tokens, in order."""

    def run(workload: Workload) -> Matrix:
        rows = []
        *before, last = batches(workload.ids, batch_tokens)
        for batch in before:
            rows += backend.launch([Item(ids, VECTOR) for ids in batch], keep_prefix=True).rows()
        rows += backend.launch([Item(ids, VECTOR) for ids in last]).rows()
        return np.stack(rows)

    return run


def batches(texts: Sequence[Ids], batch_tokens: int = BATCH_TOKENS) -> list[list[Ids]]:
    """Texts in order, up to `batch_tokens` new tokens at a time."""
    cut: list[list[Ids]] = [[]]
    room = batch_tokens
    for number, ids in enumerate(texts):
        before = texts[number - 1] if number else ids[:0]
        same = min(len(before), len(ids))
        differs = np.flatnonzero(before[:same] != ids[:same])
        new = len(ids) - (int(differs[0]) if len(differs) else same)
        if cut[-1] and new > room:
            cut.append([])
            room = batch_tokens
        cut[-1].append(ids)
        room -= new
    return cut


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
            given = {"input_ids": tokens.to(device), "attention_mask": mask.to(device)}
            hidden = network(**given, use_cache=False).last_hidden_state
            rows.append(hidden[torch.arange(len(part)), lengths - 1].float().cpu().numpy())
        return np.concatenate(rows)

    return run


def sentence_transformers(folder: Path, device: torch.device) -> Callable[[int], Contender]:
    """SentenceTransformer.encode, by batch size; it sorts by length itself."""
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
    """Every workload and those that run it, ours first."""
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


def best_batch(of: Callable[[int], Contender], sizes: Sequence[int], workload: Workload, clock: Clock) -> int:
    """The batch size at which sentence-transformers is fastest here."""
    return min(sizes, key=lambda batch: timed(lambda: of(batch)(workload), clock))


def timed(call: Callable[[], object], clock: Clock) -> float:
    """Seconds that a call takes."""
    start = clock()
    call()
    return clock() - start


def clock_of(device: torch.device) -> Clock:
    """Wall seconds, read when the device has done all that it was given."""
    if device.type != "cuda":
        return time.perf_counter

    def read() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return read
