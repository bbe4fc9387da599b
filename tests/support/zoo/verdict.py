"""What is wrong with a measured model, in words; nothing is, if the list is empty.

Tolerances: docs/http-contract.md, float32. The table and the tests judge by this alone.
"""

from collections.abc import Iterator

from tests.support.zoo.measure import Measured

COSINE = {"packed": 0.999999}
COSINE_OF_LIBRARY_NETWORKS = 0.99999
COSINE_ALONE = 0.999999
SCORE = 1e-5
LENGTH = 1e-5
LOGIT = 1e-4
# What the same words in another order must at least change, for a cosine near 1 to prove anything.
COSINE_SHUFFLED = 0.999
LOG_ODDS_STD = 1.5
ANY_SIZE, WIDTH_ONLY = (200, 200, 200, 400), (400, 400, 200, 400)


def faults(found: Measured) -> list[str]:
    """Each thing that is not as it should be, as a short sentence."""
    return [*_ways(found), *(_scores(found) if found.recipe.kind == "reranker" else _vectors(found)), *_logits(found)]


def _ways(found: Measured) -> Iterator[str]:
    recipe, about = found.recipe, found.about
    if found.way != recipe.way:
        yield f"it runs {found.way}, not {recipe.way}"
    if about["kind"] != recipe.kind:
        yield f"it is taken for a {about['kind']}"
    if about["context_length"] != recipe.max_tokens:
        yield f"it takes {about['context_length']} tokens, not {recipe.max_tokens}"


def _vectors(found: Measured) -> Iterator[str]:
    wanted = COSINE.get(found.way, COSINE_OF_LIBRARY_NETWORKS)
    if not (found.worst_cosine or 0) >= wanted:
        yield f"vectors differ from sentence-transformers': cosine {found.worst_cosine}"
    if found.recipe.query_prompt is not None and not (found.prompt_cosine or 0) >= wanted:
        yield f"a query's vector differs from that of its prompt and text: cosine {found.prompt_cosine}"
    if found.worst_length is not None and not found.worst_length <= LENGTH:
        yield f"raw vectors are longer or shorter by {found.worst_length:.1e}"
    if not (found.worst_alone or 0) >= COSINE_ALONE:
        yield f"a vector changes with its batch: cosine {found.worst_alone}"
    if not (found.shuffled_cosine or 1) < COSINE_SHUFFLED:
        yield f"the order of words hardly matters, so this proves nothing: cosine {found.shuffled_cosine}"
    allowed = tuple(found.dimensions.values())
    if allowed != (ANY_SIZE if found.recipe.dimensions else WIDTH_ONLY):
        yield f"dimensions {list(found.dimensions)} are answered {list(allowed)}"
    if found.cut_cosine is not None and not found.cut_cosine >= COSINE_ALONE:
        yield f"cut vectors do not follow the model's rule: cosine {found.cut_cosine:.7f}"


def _scores(found: Measured) -> Iterator[str]:
    if found.worst_score is None or not found.worst_score <= SCORE:
        yield f"scores differ from the reference by {found.worst_score}"
    if found.worst_alone is None or not found.worst_alone <= SCORE:
        yield f"a score changes with its batch by {found.worst_alone}"
    if not (found.log_odds_std or 0) >= LOG_ODDS_STD:
        yield f"scores hardly differ, so this proves nothing: log-odds' standard deviation {found.log_odds_std}"


def _logits(found: Measured) -> Iterator[str]:
    if found.recipe.saved_as != "AutoModelForCausalLM":
        return
    if found.worst_logit is None or not found.worst_logit <= LOGIT:
        yield f"token logits differ from transformers' by {found.worst_logit}"
