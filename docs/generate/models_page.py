"""docs/models.md: the reader's guide and the tables of all models. It formats; it measures nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.support.report import Rows, markdown
from tests.support.zoo.measure import Measurement
from tests.support.zoo.recipe import Recipe

HEAD = "Model", "Class", "Parameters", "Runs", "Against the reference", "In a batch and alone", "Small twin loads in"
OFFERS = (
    "Model",
    "Kind",
    "Pooling",
    "Named prompts",
    "Longest text",
    "`dimensions`",
    "`return_logits`",
    "Stored as",
    "Not tried",
)
POOLINGS = {"cls": "first token", "mean": "mean", "lasttoken": "last token", "max": "max"}
# Parameters above which the network's size is untried too, not only its weights.
HUGE = 100e9


@dataclass(frozen=True, slots=True)
class Line:
    """One model: its measurement, or None if it did not load, and its faults."""

    recipe: Recipe
    parameters: int
    measurement: Measurement | None
    faults: tuple[str, ...]
    real: bool = False  # the published weights ran, not a small twin
    stored: str = ""  # the result with weights in the published format, if that is not plain numbers

    @property
    def name(self) -> str:
        """The repository's name, and its name in seed_models.txt if that differs."""
        seed = self.recipe.seed_name
        alias = f" (`{seed}`)" if seed and seed != self.recipe.name else ""
        return f"{self.recipe.name}{alias}{', real weights' if self.real else ''}"


def run_rows(lines: Sequence[Line]) -> Rows:
    """Return how each model runs; the first row is the header."""
    return [HEAD, *(_run_row(line) for line in lines)]


def offer_rows(lines: Sequence[Line]) -> Rows:
    """Return what each model offers; the first row is the header."""
    return [OFFERS, *(_offer_row(line) for line in lines)]


def page(guide: str, lines: Sequence[Line], machine: str) -> str:
    """Return the whole page."""
    seeds = [line for line in lines if line.recipe.seed_name]
    relatives = [line for line in lines if not line.recipe.seed_name]
    return "\n".join(
        [
            guide,
            markdown("How the models of the guides run", run_rows(seeds)),
            markdown("What each of them offers", offer_rows(seeds)),
            markdown("How their relatives run", run_rows(relatives)),
            markdown("What the relatives offer", offer_rows(relatives)),
            f"Made by `make model-table` on: {machine}.",
            "",
        ]
    )


def _run_row(line: Line) -> tuple[str, ...]:
    measurement = line.measurement
    name = (line.name, str(line.recipe.config["architectures"][0]), _count(line.parameters))
    if measurement is None:
        return (*name, f"**not supported**: {'; '.join(line.faults)}", "", "", "")
    if line.faults:
        return (*name, f"**wrong**: {'; '.join(line.faults)}", _parity(measurement), _alone(measurement), "")
    return (*name, _runs(measurement), _parity(measurement), _alone(measurement), f"{measurement.load_seconds:.2f} s")


def _offer_row(line: Line) -> tuple[str, ...]:
    recipe = line.recipe
    return (
        line.name,
        "LLM" if recipe.kind == "llm" else recipe.kind,
        _pooling(recipe),
        ", ".join(f"`{name}`" for name in line.measurement.about["prompts"]) if line.measurement else "",
        f"{recipe.max_tokens:,}",
        _dimensions(recipe),
        _logits(line),
        line.stored or _stored(recipe),
        _not_tried(line),
    )


def _count(parameters: int) -> str:
    unit, divisor = ("B", 1e9) if parameters >= 1e9 else ("M", 1e6)
    return f"{parameters / divisor:,.4g} {unit}"


def _runs(measurement: Measurement) -> str:
    # The reason for the layout if one was chosen, else that for the backend.
    searched = measurement.about["backend"] == "transformers"
    return f"{measurement.runs_as}: {measurement.about['layout_reason' if searched else 'reason']}"


def _parity(measurement: Measurement) -> str:
    if measurement.recipe.kind == "reranker":
        return _scores(measurement.worst_score)
    assert measurement.worst_cosine is not None, "an embedder that was measured without vectors"
    return _cosine(measurement.worst_cosine)


def _alone(measurement: Measurement) -> str:
    assert measurement.worst_alone is not None, "a model that was measured without its batch"
    if measurement.recipe.kind == "reranker":
        return _scores(measurement.worst_alone)
    return _cosine(measurement.worst_alone)


def _scores(difference: float | None) -> str:
    return f"scores within {difference:.0e}" if difference else "scores equal to the last bit"


def _cosine(cosine: float) -> str:
    # Sums in float64 may end a little above 1.
    return f"cosine 1 - {max(1 - cosine, 1e-16):.0e}"


def _pooling(recipe: Recipe) -> str:
    if recipe.kind == "reranker":
        return ""
    if recipe.modules is None:
        return "last token"
    dense = ", then Dense" * bool(recipe.modules.dense)
    return f"{POOLINGS[recipe.modules.pooling]}{dense}{', normalised' if recipe.modules.normalize else ''}"


def _dimensions(recipe: Recipe) -> str:
    if recipe.kind == "reranker":
        return ""
    width = recipe.width
    if not recipe.dimensions:
        return f"{width} only"
    first = ", layer norm before the cut" if recipe.name.endswith("nomic-embed-text-v1.5") else ""
    return f"1 to {width}{first}"


def _logits(line: Line) -> str:
    measurement = line.measurement
    if measurement is None:
        return ""
    if measurement.worst_logit is not None:
        return f"every token's, within {measurement.worst_logit:.0e}"
    return "its label's" if measurement.label_logits else "none"


def _stored(recipe: Recipe) -> str:
    return str(recipe.config.get("torch_dtype") or recipe.config.get("dtype") or "float32")


def _not_tried(line: Line) -> str:
    if line.real:
        return "nothing: these are its weights"
    gigabytes = line.parameters * 2 / 1e9
    if line.parameters >= HUGE:
        return f"its weights and its size: {gigabytes:,.0f} GB in bfloat16"
    return (
        f"its weights: {gigabytes:,.2g} GB in bfloat16"
        if gigabytes < 10
        else f"its weights: {gigabytes:,.0f} GB in bfloat16"
    )
