"""BERT-base's shape through the library's network, unpadded, beside sentence-transformers; random weights.

    python -m benchmarks.encoders --rounds 5 --dtype bfloat16 --out benchmarks/results/encoders.md

One call of 64 texts of mixed lengths, five draws. Outputs are compared first; rounds are interleaved, and ratios are of
medians. sentence-transformers runs at its default batch size and at the one that is fastest here, in the same dtype.
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
from benchmarks.support.contenders import BATCH_TOKENS, VECTOR, Matrix
from benchmarks.support.report import machine, markdown, show, write
from benchmarks.support.workloads import Workload, spaced
from models import Item, LoadOptions, Preprocessor, load_backend, load_preprocessor
from models.interface import Dtype
from tests.support.zoo.build import build
from tests.support.zoo.recipe import Modules, Recipe, published
from tests.support.zoo.tokenizers.vocabularies import BERT_WORDS

BASE = Recipe(
    name="random/bert-base",
    config=published("bert-base-uncased"),
    reduced={},
    vocabulary=BERT_WORDS,
    modules=Modules("mean", normalize=False, max_seq_length=512),
)
DEFAULT_BATCH = 32
BATCHES = (1, 2, 4, 8, 16, 32)
SEEDS = range(5)
Contender = Callable[[Workload], Matrix]


def draw(seed: int, text: Preprocessor) -> Workload:
    """One call's texts."""
    texts = spaced(seed)
    ids = [text.tokenizer.with_special_tokens(each) for each in text.tokenizer.encode(texts)]
    return Workload(str(seed), texts, ids)


def unpadded(text: Preprocessor, folder: Path, dtype: Dtype) -> Contender:
    """The transformers backend, cut into batches as a server cuts them; tokenising is a part of it."""
    backend = load_backend(folder, text.info, LoadOptions(dtype=dtype))
    assert backend.info.layout == "unpadded", backend.info.layout_reason

    def run(workload: Workload) -> Matrix:
        items = [Item(text.tokenizer.with_special_tokens(ids), VECTOR) for ids in text.tokenizer.encode(workload.texts)]
        rows = [row for batch in _cut(items) for row in backend.launch(batch).rows()]
        return np.stack(rows)

    return run


def sentence_transformers(folder: Path, dtype: Dtype) -> Callable[[int], Contender]:
    """SentenceTransformer.encode, by batch size; it sorts by length itself."""
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


def measure(folder: Path, dtype: Dtype, rounds: int) -> list[list[str]]:
    """One row a draw, and the medians."""
    text = load_preprocessor(folder)
    ours, st = unpadded(text, folder, dtype), sentence_transformers(folder, dtype)
    first = draw(0, text)
    for way in (ours, st(4)):
        way(first)
    best = min(BATCHES, key=lambda batch: min(_seconds(st(batch), first) for _ in range(2)))
    contenders = {"ours": ours, "default": st(DEFAULT_BATCH), "best": st(best)}
    rows, ratios = [], []
    for seed in SEEDS:
        workload = draw(seed, text)
        worst = worst_cosine(ours(workload), contenders["best"](workload))
        taken = interleaved(contenders, workload, rounds, time.perf_counter)
        ratios.append([taken[name] / taken["ours"] for name in ("default", "best")])
        seconds = [f"{taken[name]:.3f}" for name in contenders]
        rows.append(
            [str(seed), str(workload.tokens), *seconds, *(f"{each:.2f}" for each in ratios[-1]), f"{worst:.6f}"]
        )
        print(rows[-1], flush=True)
    medians = [f"{statistics.median(each):.2f}" for each in zip(*ratios, strict=True)]
    heads = [
        "draw",
        "tokens",
        "ours, s",
        "batch 32, s",
        f"batch {best}, s",
        "ratio, 32",
        f"ratio, {best}",
        "worst cosine",
    ]
    return [heads, *rows, ["median", "", "", "", "", *medians, ""]]


def _seconds(way: Contender, workload: Workload) -> float:
    started = time.perf_counter()
    way(workload)
    return time.perf_counter() - started


def main() -> None:
    """Build the checkpoint, measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = measure(build(BASE, Path(folder)), asked.dtype, asked.rounds)
    title = f"BERT-base's shape, 64 texts a call, {asked.dtype}: {machine()}"
    show(title, table)
    if asked.out:
        write(asked.out, markdown(title, table))


if __name__ == "__main__":
    main()
