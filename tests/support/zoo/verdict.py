"""The faults of a measured model, in words. The table and the tests judge by this list alone.

Tolerances: docs/http-contract.md, float32.
"""

from collections.abc import Iterator

from tests.support.zoo.measure import Measurement

COSINE = {"packed": 0.999999}
COSINE_OF_LIBRARY_NETWORKS = 0.99999
COSINE_ALONE = 0.999999
SCORE = 1e-5
LENGTH = 1e-5
LOGIT = 1e-4
# A cosine near 1 proves nothing unless the same words in another order give a cosine below this.
COSINE_SHUFFLED = 0.999
LOG_ODDS_STD = 1.5
ANY_SIZE, WIDTH_ONLY = (200, 200, 200, 400), (400, 400, 200, 400)


def faults(measurement: Measurement) -> list[str]:
    """Return a short sentence for each fault; the list is empty if there is none."""
    return [
        *_loading(measurement),
        *(_scores(measurement) if measurement.recipe.kind == "reranker" else _vectors(measurement)),
        *_logits(measurement),
    ]


def _loading(measurement: Measurement) -> Iterator[str]:
    recipe, about = measurement.recipe, measurement.about
    if measurement.runs_as != recipe.runs_as:
        yield f"it runs {measurement.runs_as}, not {recipe.runs_as}"
    if about["kind"] != recipe.kind:
        yield f"it is loaded as {about['kind']}"
    if about["context_length"] != recipe.max_tokens:
        yield f"it takes {about['context_length']} tokens, not {recipe.max_tokens}"


def _vectors(measurement: Measurement) -> Iterator[str]:
    tolerance = COSINE.get(measurement.runs_as, COSINE_OF_LIBRARY_NETWORKS)
    if not (measurement.worst_cosine or 0) >= tolerance:
        yield f"vectors differ from sentence-transformers': cosine {measurement.worst_cosine}"
    if measurement.recipe.query_prompt is not None and not (measurement.prompt_cosine or 0) >= tolerance:
        yield f"a query's vector differs from that of its prompt and text: cosine {measurement.prompt_cosine}"
    if measurement.worst_length is not None and not measurement.worst_length <= LENGTH:
        yield f"raw vectors are longer or shorter by {measurement.worst_length:.1e}"
    if not (measurement.worst_alone or 0) >= COSINE_ALONE:
        yield f"a vector changes with its batch: cosine {measurement.worst_alone}"
    if not (measurement.shuffled_cosine or 1) < COSINE_SHUFFLED:
        yield f"the order of words hardly matters, so this proves nothing: cosine {measurement.shuffled_cosine}"
    allowed = tuple(measurement.dimensions.values())
    if allowed != (ANY_SIZE if measurement.recipe.dimensions else WIDTH_ONLY):
        yield f"dimensions {list(measurement.dimensions)} get statuses {list(allowed)}"
    if measurement.cut_cosine is not None and not measurement.cut_cosine >= COSINE_ALONE:
        yield f"cut vectors do not follow the model's rule: cosine {measurement.cut_cosine:.7f}"


def _scores(measurement: Measurement) -> Iterator[str]:
    if measurement.worst_score is None or not measurement.worst_score <= SCORE:
        yield f"scores differ from the reference by {measurement.worst_score}"
    if measurement.worst_alone is None or not measurement.worst_alone <= SCORE:
        yield f"a score changes with its batch by {measurement.worst_alone}"
    if not (measurement.log_odds_std or 0) >= LOG_ODDS_STD:
        yield f"scores hardly differ, so this proves nothing: log-odds' standard deviation {measurement.log_odds_std}"


def _logits(measurement: Measurement) -> Iterator[str]:
    if measurement.recipe.saved_as != "AutoModelForCausalLM":
        return
    if measurement.worst_logit is None or not measurement.worst_logit <= LOGIT:
        yield f"token logits differ from transformers' by {measurement.worst_logit}"
