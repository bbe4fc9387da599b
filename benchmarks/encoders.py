"""BERT-base's shape: the unpadded transformers backend against sentence-transformers; random weights.

    python -m benchmarks.encoders --rounds 5 --dtype bfloat16 --out benchmarks/results/encoders.md

One call has 64 texts of mixed lengths; there are five draws. Outputs are compared first, rounds are interleaved, and
ratios are ratios of medians. sentence-transformers runs in the same dtype, at its default batch size and at the one
that is fastest on this machine.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.forward import interleaved, worst_cosine
from benchmarks.support.checkpoints import bert_embedder
from benchmarks.support.contenders import BATCH_TOKENS, VECTOR, Contender, Matrix, best_batch
from benchmarks.support.report import Rows, machine, markdown, show, write
from benchmarks.support.workloads import Workload, spaced
from models import Item, LoadOptions, Preprocessor, load_backend, load_preprocessor
from models.interface import Dtype

DEFAULT_BATCH = 32
BATCHES = (1, 2, 4, 8, 16, 32)
SEEDS = range(5)
HEADER = ["draw", "tokens", "ours, s", "batch 32, s", "batch {best}, s", "ratio, 32", "ratio, {best}", "worst cosine"]


def draw(seed: int, text: Preprocessor) -> Workload:
    """The texts of one call."""
    texts = spaced(seed)
    ids = [text.tokenizer.with_special_tokens(ids) for ids in text.tokenizer.encode(texts)]
    return Workload(str(seed), texts, ids)


def unpadded(text: Preprocessor, folder: Path, dtype: Dtype) -> Contender:
    """The transformers backend, tokenisation included, over batches as the server forms them."""
    backend = load_backend(folder, text.info, LoadOptions(dtype=dtype))
    assert backend.info.layout == "unpadded", backend.info.layout_reason

    def run(workload: Workload) -> Matrix:
        items = [Item(text.tokenizer.with_special_tokens(ids), VECTOR) for ids in text.tokenizer.encode(workload.texts)]
        rows = [row for batch in _cut(items) for row in backend.launch(batch).rows()]
        return np.stack(rows)

    return run


def sentence_transformers(folder: Path, dtype: Dtype) -> Callable[[int], Contender]:
    """SentenceTransformer.encode as a function of the batch size; it sorts by length itself."""
    import sentence_transformers

    model = sentence_transformers.SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"dtype": getattr(torch, dtype)}
    )

    def of(batch: int) -> Contender:
        return lambda workload: np.asarray(
            model.encode(list(workload.texts), batch_size=batch, convert_to_numpy=True, show_progress_bar=False),
            dtype=np.float32,
        )

    return of


def _cut(items: Sequence[Item]) -> list[list[Item]]:
    cut: list[list[Item]] = []
    room = 0
    for item in items:
        if not cut or len(item.ids) > room:
            cut.append([])
            room = BATCH_TOKENS
        cut[-1].append(item)
        room -= len(item.ids)
    return cut


def measure(folder: Path, dtype: Dtype, rounds: int) -> Rows:
    """One row for each draw, and the medians."""
    text = load_preprocessor(folder)
    ours, library = unpadded(text, folder, dtype), sentence_transformers(folder, dtype)
    first = draw(0, text)
    for warm_up in (ours, library(4)):
        warm_up(first)
    best = best_batch(library, BATCHES, first, time.perf_counter)
    contenders = {"ours": ours, "default": library(DEFAULT_BATCH), "best": library(best)}
    draws = [_compare(contenders, draw(seed, text), rounds) for seed in SEEDS]
    medians = [f"{statistics.median(ratios):.2f}" for ratios in zip(*(ratios for ratios, _ in draws), strict=True)]
    header = [name.format(best=best) for name in HEADER]
    return [header, *(row for _, row in draws), ["median", "", "", "", "", *medians, ""]]


def _compare(contenders: dict[str, Contender], workload: Workload, rounds: int) -> tuple[list[float], list[str]]:
    worst = worst_cosine(contenders["ours"](workload), contenders["best"](workload))
    seconds = interleaved(contenders, workload, rounds, time.perf_counter)
    ratios = [seconds[name] / seconds["ours"] for name in ("default", "best")]
    times = [f"{seconds[name]:.3f}" for name in contenders]
    row = [workload.name, str(workload.tokens), *times, *(f"{ratio:.2f}" for ratio in ratios), f"{worst:.6f}"]
    print(row, flush=True)
    return ratios, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each contender")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="data type to compute in")
    parser.add_argument("--out", type=Path, help="the page to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(bert_embedder(Path(folder)), options.dtype, options.rounds)
    title = f"BERT-base's shape, 64 texts a call, {options.dtype}: {machine()}"
    show(title, rows)
    if options.out:
        write(options.out, markdown(title, rows))


if __name__ == "__main__":
    main()
