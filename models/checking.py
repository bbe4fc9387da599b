"""Whether a checkpoint is run right on this machine: one batch through its backend, compared with the reference."""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.finish import finish_scores, finish_vectors
from models.interface import Backend, BackendInfo, Item, LoadOptions, ModelInfo, Readout, Row
from models.loading import TextModel, load_backend, load_text
from models.prompts import INSTRUCTION

TEXTS = (
    "What is the capital of France?",
    "Paris is the capital and largest city of France, home to the Eiffel Tower and the Louvre Museum.",
    "a",
    "The refund was issued on 14 March 2025 and should reach your account within 3 to 5 working days.",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n",
    "日本語のテキストです。 naïve café, مرحبا بالعالم",
    "Water boils at 100 degrees Celsius at sea level, and at a lower temperature on a mountain. " * 12,
)
QUERIES = ("What is the capital of France?", "How do I get my money back?")
SPEED_SECONDS = 2.0

# CONTRACT of numbers, by dtype: lowest cosine for our own network and for the library's, highest score difference.
COSINE = {"float32": {"packed": 0.999999, "transformers": 0.99999}}
COSINE_HALF = 0.999
SCORE = {"float32": 1e-5}
SCORE_HALF = 2e-2


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    what: str
    found: str
    wanted: str = ""
    passed: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """What was found of one model."""

    info: ModelInfo
    backend: BackendInfo
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether every comparison held."""
        return all(finding.passed for finding in self.findings)


def check_model(path: Path, options: LoadOptions, say: Callable[[str], None]) -> Report:
    """Load, self-check, compare with the reference, measure. `say` is told what is being done.

    Raises: ModelError: the model does not load, or a self-check at load failed.
    """
    say("loading")
    started = time.perf_counter()
    text = load_text(path, options)
    backend = load_backend(path, text.info, options)
    loaded = Finding("load and self-checks", f"{time.perf_counter() - started:.1f} s")
    say("measuring speed")
    speed = _speed(text, backend)
    say("comparing with the reference")
    compared = _compare_scores(text, backend) if text.info.kind == "reranker" else _compare_vectors(text, backend)
    return Report(text.info, backend.info, (loaded, compared, speed, _memory()))


def _compare_vectors(text: TextModel, backend: Backend) -> Finding:
    from models.reference import Reference

    tokenizer = text.tokenizer
    ids = [tokenizer.with_special_tokens(body) for body in tokenizer.encode(TEXTS)]
    ours = finish_vectors(_rows(backend, [Item(one, Readout("vector")) for one in ids]), normalize=True)
    reference = Reference(text.info.path, text.info.kind, text.info.pooling)
    theirs = finish_vectors([reference.vector(one) for one in TEXTS], normalize=True)
    worst = float((ours.astype(np.float64) * theirs).sum(axis=1).min())
    wanted = COSINE.get(backend.info.dtype, {}).get(backend.info.backend, COSINE_HALF)
    return Finding(f"worst cosine of {len(TEXTS)} texts", f"{worst:.7f}", f"≥ {wanted}", worst >= wanted)


def _compare_scores(text: TextModel, backend: Backend) -> Finding:
    from models.reference import Reference

    prompt = text.rerank
    assert prompt is not None, "a reranker without its prompt"
    documents = prompt.documents(TEXTS)
    heads = [prompt.head(INSTRUCTION, query) for query in QUERIES]
    items = [Item(prompt.join(head, document), Readout("score")) for head in heads for document in documents]
    ours = finish_scores(_rows(backend, items))
    reference = Reference(text.info.path, text.info.kind, text.info.pooling)
    theirs = [reference.score(INSTRUCTION, query, document) for query in QUERIES for document in TEXTS]
    worst = float(np.abs(ours - np.array(theirs, dtype=np.float32)).max())
    wanted = SCORE.get(backend.info.dtype, SCORE_HALF)
    return Finding(f"worst score difference of {len(items)} pairs", f"{worst:.1e}", f"≤ {wanted:g}", worst <= wanted)


def _speed(text: TextModel, backend: Backend) -> Finding:
    readout = Readout("score" if text.info.kind == "reranker" else "vector")
    items = [Item(ids, readout) for ids in text.tokenizer.encode(TEXTS)]
    tokens, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < SPEED_SECONDS:
        _rows(backend, items)
        tokens += sum(len(item.ids) for item in items)
    return Finding("speed, seven mixed texts a batch", f"{tokens / seconds:,.0f} tokens/s")


def _rows(backend: Backend, items: Sequence[Item]) -> list[Row]:
    return backend.launch(items).rows()


def _memory() -> Finding:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Finding("peak memory of this process, reference included", f"{peak / 2**30:.2f} GiB")
