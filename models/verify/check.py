"""Checks that a checkpoint is computed correctly on this machine, and measures its speed and memory use."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.interface import BackendInfo, Item, LoadOptions, ModelInfo, Readout
from models.memory import Footprint, gibibytes, rss_bytes
from models.postprocess import finish_logits, finish_scores
from models.text.qwen3_prompt import DEFAULT_INSTRUCTION
from models.verify.offline import OfflineModel, cosines, fitting, fitting_documents
from models.verify.samples import SAMPLE_DOCUMENTS, SAMPLE_QUERIES, SAMPLE_TEXTS

SPEED_SECONDS = 2.0
SPEED_TEXTS = 8

# Limits for float32 and, where named HALF, for narrower dtypes.
COSINE_PACKED, COSINE_LIBRARY, COSINE_HALF = 0.999999, 0.99999, 0.999
COSINE_BATCH, COSINE_BATCH_HALF = 0.999999, 0.9999
SCORE, SCORE_HALF = 1e-5, 2e-2
SCORE_BATCH, SCORE_BATCH_HALF = 1e-5, 5e-3
LOGITS = 1e-6


@dataclass(frozen=True, slots=True)
class Finding:
    """One measurement: its value, the value as text, and the required value as text ("" if there is no requirement)."""

    name: str
    what: str
    value: float
    found: str
    wanted: str = ""
    passed: bool = True


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All measurements of one model."""

    info: ModelInfo
    backend: BackendInfo
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether every measurement meets its requirement."""
        return all(finding.passed for finding in self.findings)


def check_model(path: Path, options: LoadOptions, say: Callable[[str], None]) -> CheckReport:
    """Load a model, measure it, and compare it with the reference. `say` gets the name of each step.

    Raises: ModelError: the model does not load, or a self-check at load failed.
    """
    say("loading")
    started = time.perf_counter()
    with Footprint() as footprint:
        model = OfflineModel.load(path, options)
    seconds = time.perf_counter() - started
    findings = [Finding("load_seconds", "load and self-checks", seconds, f"{seconds:.1f} s")]
    findings += _load_memory(footprint, model)
    say("measuring speed")
    findings += [_speed(model), _memory()]
    say("comparing with the reference")
    compared = _scores(model) if model.preprocessor.info.kind == "reranker" else _vectors(model)
    return CheckReport(model.preprocessor.info, model.backend.info, (*compared, *findings))


def _vectors(model: OfflineModel) -> list[Finding]:
    from models.verify.reference import NoReference, vector_reference

    info, half = model.backend.info, model.backend.info.dtype != "float32"
    texts = fitting(model.preprocessor, SAMPLE_TEXTS)
    ours = model.vectors(texts)
    to_itself = cosines(ours, model.vectors(texts, batch=1))
    alone = _least(
        "worst_cosine_alone",
        "worst cosine, batched against alone",
        to_itself,
        COSINE_BATCH_HALF if half else COSINE_BATCH,
    )
    try:
        reference = vector_reference(model.preprocessor.info)
    except NoReference as error:
        return [_missing("worst_cosine", error), alone]
    to_reference = cosines(ours, [reference.vector(text) for text in texts])
    full = COSINE_PACKED if info.backend == "packed" else COSINE_LIBRARY
    return [
        _least("worst_cosine", "worst cosine with the reference", to_reference, COSINE_HALF if half else full),
        alone,
    ]


def _scores(model: OfflineModel) -> list[Finding]:
    from models.verify.reference import NoReference, score_reference

    half = model.backend.info.dtype != "float32"
    documents = fitting_documents(model.preprocessor, SAMPLE_QUERIES, SAMPLE_DOCUMENTS)
    ours = np.concatenate([model.scores(query, documents) for query in SAMPLE_QUERIES])
    alone = np.concatenate([model.scores(query, documents, batch=1) for query in SAMPLE_QUERIES])
    findings = [
        _most(
            "worst_score_alone",
            "worst score difference, batched against alone",
            ours - alone,
            SCORE_BATCH_HALF if half else SCORE_BATCH,
        )
    ]
    if model.preprocessor.info.no_yes is not None:
        findings.append(_logits(model, documents))
    try:
        reference = score_reference(model.preprocessor.info)
    except NoReference as error:
        return [_missing("worst_score", error), *findings]
    expected = np.array(
        [reference.score(DEFAULT_INSTRUCTION, query, text) for query in SAMPLE_QUERIES for text in documents]
    )
    spread = f"{expected.min():.4f} to {expected.max():.4f}"
    return [
        _most(
            "worst_score", "worst score difference from the reference", ours - expected, SCORE_HALF if half else SCORE
        ),
        Finding("score_spread", "the reference's scores", float(np.std(expected)), spread),
        *findings,
    ]


def _logits(model: OfflineModel, documents: list[str]) -> Finding:
    """Compare the probability of "yes" from return_logits with the score of the same batch of prompts."""
    ids, no_yes = model.pairs(SAMPLE_QUERIES[0], documents), model.preprocessor.info.no_yes
    assert no_yes is not None, "only a reranker with token logits has this check"
    logits = model.rows([Item(row, Readout("logits", no_yes)) for row in ids], len(ids))
    scores = finish_scores(model.rows([Item(row, Readout("score")) for row in ids], len(ids)))
    return _most(
        "logits",
        "return_logits against score",
        finish_logits(logits, normalize=True)[:, 1] - scores,
        LOGITS,
    )


def _missing(name: str, error: Exception) -> Finding:
    return Finding(name, "comparison with the reference", float("nan"), str(error), "a reference", passed=False)


def _least(name: str, what: str, values: list[float], limit: float) -> Finding:
    worst = float(np.min(values))
    return Finding(name, f"{what}, {len(values)} texts", worst, f"{worst:.7f}", f"≥ {limit}", worst >= limit)


def _most(name: str, what: str, differences: NDArray[np.floating], limit: float) -> Finding:
    worst = float(np.abs(differences).max())
    what = f"{what}, {len(differences)} pairs"
    return Finding(name, what, worst, f"{worst:.1e}", f"≤ {limit:g}", worst <= limit)


def _speed(model: OfflineModel) -> Finding:
    readout = Readout("score" if model.preprocessor.info.kind == "reranker" else "vector")
    limit = model.preprocessor.info.max_tokens
    items = [Item(ids[:limit], readout) for ids in model.preprocessor.tokenizer.encode(SAMPLE_TEXTS) if len(ids)]
    tokens, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < SPEED_SECONDS:
        model.rows(items, SPEED_TEXTS)
        tokens += sum(len(item.ids) for item in items)
    speed = tokens / seconds
    return Finding("tokens_per_second", f"speed, batches of {SPEED_TEXTS} mixed texts", speed, f"{speed:,.0f} tokens/s")


def _load_memory(footprint: Footprint, model: OfflineModel) -> list[Finding]:
    info = model.backend.info
    weights = info.parameters * (4 if info.dtype == "float32" else 2)
    sizes = Finding("weights_bytes", f"weights in {info.dtype}", weights, gibibytes(weights))
    if footprint.peak_bytes is None:
        return [sizes]
    what = "peak memory while loading, libraries included"
    return [sizes, Finding("load_peak_bytes", what, footprint.peak_bytes, gibibytes(footprint.peak_bytes))]


def _memory() -> Finding:
    resident = rss_bytes()
    return Finding("resident_bytes", "memory of this process, mapped files included", resident, gibibytes(resident))
