"""Checks that a checkpoint is computed correctly on this machine, and measures its speed and memory use."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.backends.warm_up import warm_up
from models.checkpoint.folder import Checkpoint
from models.checkpoint.sentence_transformers_files import post_pooling_modules
from models.interface import BackendInfo, Item, LoadOptions, ModelInfo, Readout, Row
from models.memory import Footprint, gibibytes, rss_bytes
from models.postprocess import finish_logits, finish_scores
from models.text.qwen3_prompt import DEFAULT_INSTRUCTION
from models.verify.limits import AVERAGE_FACTOR, PACKED_VECTORS, SCORES, VECTORS, WORST_FACTOR, Errors, Measure
from models.verify.offline import BATCH_TEXTS, OfflineModel, fitting, fitting_documents
from models.verify.samples import SAMPLE_DOCUMENTS, SAMPLE_QUERIES, SAMPLE_TEXTS

SPEED_SECONDS = 2.0
SPEED_TEXTS = 8
# The default budget of a batch on a GPU.
MAX_BATCH_TOKENS = 16384

# How far a softmax over two logits may be from the score of the same prompt.
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
    findings += _batch_costs(model, say)
    say("comparing with the reference")
    is_reranker = model.preprocessor.info.kind == "reranker"
    compared = _scores(model) if is_reranker else [*_vectors(model), *_published(model, options.id or "")]
    return CheckReport(model.preprocessor.info, model.backend.info, (*compared, *findings))


def _batch_costs(model: OfflineModel, say: Callable[[str], None]) -> list[Finding]:
    """On a GPU, the time and memory of a batch by its size: more tokens than are faster together are not needed."""
    if model.backend.info.device == "cpu":
        return []
    say("measuring batches")
    findings = []
    for cost in warm_up(model.backend, model.preprocessor.info, MAX_BATCH_TOKENS):
        memory = "" if cost.peak_bytes is None else f", {gibibytes(cost.peak_bytes)}"
        speed = f"{cost.seconds * 1000:.1f} ms, {cost.tokens / cost.seconds:,.0f} tokens/s{memory}"
        findings.append(Finding(f"batch_{cost.tokens}", f"a batch of {cost.tokens:,} tokens", cost.seconds, speed))
    return findings


def _vectors(model: OfflineModel) -> list[Finding]:
    from models.verify.reference import vector_reference

    texts = fitting(model.preprocessor, (*SAMPLE_TEXTS, *_with_words(model)))

    def expected(dtype: str) -> list[Row]:
        reference = vector_reference(model.preprocessor.info, dtype)
        return [reference.vector(text) for text in texts]

    measure = PACKED_VECTORS if model.backend.info.backend == "packed" else VECTORS
    return _compare(measure, model.backend.info.dtype, lambda batch: model.vectors(texts, batch), expected)


def _with_words(model: OfflineModel) -> list[str]:
    """A text with a token that was added to the vocabulary and that users may write, if there is one."""
    words = [word for word in model.preprocessor.tokenizer.words if word.strip()]
    return [f"What is {words[0]}, and where is {words[-1]}?"] if words else []


def _published(model: OfflineModel, source: str) -> list[Finding]:
    """Compare with the procedure of the model card, where the family is known by name."""
    from models.verify.published import PublishedVectors, find_procedure
    from models.verify.reference import NoReference

    info, backend = model.preprocessor.info, model.backend.info
    procedure = find_procedure(info, source)
    if procedure is None or info.kind != "embedder" or post_pooling_modules(Checkpoint(Path(info.path))):
        return []
    texts = fitting(model.preprocessor, SAMPLE_TEXTS)
    half = backend.dtype != "float32"
    limit = VECTORS.limit_half if half else VECTORS.limit
    try:
        expected = PublishedVectors(info, procedure).vectors(texts)
        errors, library = VECTORS.errors(model.vectors(texts), expected), None
        if half and errors.worst > limit:
            library = VECTORS.errors(PublishedVectors(info, procedure, backend.dtype).vectors(texts), expected)
    except NoReference:  # the comparison above says so, or the vocabulary is of another family
        return []
    what, value = "worst cosine with the model card's procedure", VECTORS.value(errors.worst)
    passed = errors.are_within(limit, library)
    found, required = VECTORS.text(errors.worst), VECTORS.required(limit)
    return [Finding("worst_cosine_published", what, value, found, required, passed)]


def _scores(model: OfflineModel) -> list[Finding]:
    from models.verify.reference import score_reference

    documents = fitting_documents(model.preprocessor, SAMPLE_QUERIES, SAMPLE_DOCUMENTS)
    spread: list[Finding] = []

    def expected(dtype: str) -> list[Row]:
        reference = score_reference(model.preprocessor.info, dtype)
        pairs = [(query, text) for query in SAMPLE_QUERIES for text in documents]
        scores = np.array([reference.score(DEFAULT_INSTRUCTION, *pair) for pair in pairs])
        if dtype == "float32":
            between = f"{scores.min():.4f} to {scores.max():.4f}"
            spread.append(Finding("score_spread", "the reference's scores", float(np.std(scores)), between))
        return [scores]

    def ours(batch: int) -> list[Row]:
        return [np.concatenate([model.scores(query, documents, batch) for query in SAMPLE_QUERIES])]

    compared = _compare(SCORES, model.backend.info.dtype, ours, expected)
    logits = [_logits(model, documents)] if model.preprocessor.info.no_yes is not None else []
    return [*compared, *spread, *logits]


def _compare(
    measure: Measure,
    dtype: str,
    ours: Callable[[int], list[Row]],
    expected: Callable[[str], list[Row]],
) -> list[Finding]:
    """Compare our rows, given by batch size, with the reference's in float32, given by dtype, and with each other.

    In a narrower dtype the reference runs in that dtype too: its own error is reported, and part of the requirement.
    """
    from models.verify.reference import NoReference

    together, half = ours(BATCH_TEXTS), dtype != "float32"
    alone = measure.errors(together, ours(1))
    try:
        reference = expected("float32")
    except NoReference as error:
        return [_missing(f"worst_{measure.name}", error), _alone(measure, alone, measure.batch_limit(None, half=half))]
    library, findings = _library_errors(measure, dtype, expected, reference) if half else (None, [])
    errors = measure.errors(together, reference)
    return [
        _to_reference(measure, errors, library, half=half),
        *findings,
        _alone(measure, alone, measure.batch_limit(library, half=half)),
    ]


def _library_errors(
    measure: Measure, dtype: str, expected: Callable[[str], list[Row]], reference: list[Row]
) -> tuple[Errors | None, list[Finding]]:
    name, what = f"library_{measure.name}", f"the reference's own worst {measure.measure} in {dtype}"
    try:
        errors = measure.errors(expected(dtype), reference)
    except Exception as error:  # the libraries raise exceptions of any class, as for an operation without this dtype
        line = next(iter(str(error).strip().splitlines()), "no reason given")
        return None, [Finding(name, what, float("nan"), f"it cannot run: {line[:200]}")]
    return errors, [Finding(name, what, measure.value(errors.worst), measure.text(errors.worst))]


def _logits(model: OfflineModel, documents: list[str]) -> Finding:
    """Compare the probability of "yes" from return_logits with the score of the same batch of prompts."""
    ids, no_yes = model.pairs(SAMPLE_QUERIES[0], documents), model.preprocessor.info.no_yes
    assert no_yes is not None, "only a reranker with token logits has this check"
    logits = model.rows([Item(row, Readout("logits", no_yes)) for row in ids], len(ids))
    scores = finish_scores(model.rows([Item(row, Readout("score")) for row in ids], len(ids)))
    worst = float(np.abs(finish_logits(logits, normalize=True)[:, 1] - scores).max())
    what = f"return_logits against score, {len(ids)} pairs"
    return Finding("logits", what, worst, f"{worst:.1e}", f"≤ {LOGITS:g}", worst <= LOGITS)


def _missing(name: str, error: Exception) -> Finding:
    return Finding(name, "comparison with the reference", float("nan"), str(error), "a reference", passed=False)


def _to_reference(measure: Measure, errors: Errors, library: Errors | None, *, half: bool) -> Finding:
    limit = measure.limit_half if half else measure.limit
    required = measure.required(limit)
    if library is not None and library.worst > limit / WORST_FACTOR:
        required += f", or {WORST_FACTOR} times the reference's own error, {AVERAGE_FACTOR} times on average"
    what = f"worst {measure.measure} with the reference"
    value, passed = measure.value(errors.worst), errors.are_within(limit, library)
    return Finding(f"worst_{measure.name}", what, value, measure.text(errors.worst), required, passed)


def _alone(measure: Measure, errors: Errors, limit: float) -> Finding:
    what = f"worst {measure.measure}, batched against alone"
    value, passed = measure.value(errors.worst), errors.worst <= limit
    name = f"worst_{measure.name}_alone"
    return Finding(name, what, value, measure.text(errors.worst), measure.required(limit), passed)


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
