"""One model of the zoo, served and compared with the reference: what the tests assert and the table shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support.checkpoints.calibration import DOCUMENTS, QUERIES
from tests.support.zoo import references
from tests.support.zoo.recipe import Recipe
from tests.support.zoo.references import Matrix
from tests.support.zoo.serve import RAW, ServedModel, served

# Mixed lengths, beyond every window of the small twins and beyond the 128, 256 and 512 tokens of the encoders.
TEXTS = (
    "What is the capital of France?",
    "a",
    "Paris is the capital and largest city of France, home to the Eiffel Tower and the Louvre Museum.",
    "naïve café, 日本語のテキスト, 机器学习，它 x² ± 4",
    "def mean(values):\n    return sum(values) / len(values)",
    "Water boils at 100 degrees Celsius at sea level, and at a lower temperature on a mountain. " * 8
    + "So it is said.",
    "The refund was issued on 14 March 2025 and should reach your account within 3 to 5 working days.",
)
# The same words in another order: a network without positions would not tell them apart.
SHUFFLED = "Museum the Louvre and Tower Eiffel the to home, France of city largest and capital the is Paris."
LONG = "Jupiter, the largest planet in our solar system, has a prominent red spot. " * 4 + "It is far."
LOGIT_IDS = (40, 7, 41, 7)


@dataclass(slots=True)
class Measurement:
    """The measurements of one model; those that do not apply to its kind stay None."""

    recipe: Recipe
    about: dict[str, Any]
    load_seconds: float
    worst_cosine: float | None = None
    worst_length: float | None = None  # the largest relative difference of raw vectors' lengths
    worst_alone: float | None = None  # alone against in a batch: cosine, or difference of scores
    shuffled_cosine: float | None = None
    prompt_cosine: float | None = None
    dimensions: dict[int, int] = field(default_factory=dict)  # requested -> HTTP status
    cut_cosine: float | None = None  # vectors cut to half, against the rule computed apart
    worst_score: float | None = None
    log_odds_std: float | None = None
    worst_logit: float | None = None
    label_logits: bool = False  # whether return_logits works for a classifier's labels

    @property
    def runs_as(self) -> str:
        """The layout of its batches, or the backend if that has no layout of ours."""
        backend = str(self.about["backend"])
        return backend if backend == "sentence_transformers" else str(self.about.get("layout") or backend)


async def measure(recipe: Recipe, folder: Path, *, reference: Path | None = None, **options: Any) -> Measurement:
    """Serve the folder and compare everything that its kind offers.

    Args:
        recipe: what the folder was made by.
        folder: the model to serve.
        reference: a folder with the same numbers that the libraries read, if they cannot read this one.
        options: fields of ModelConfig; float32 by default.

    Raises: ModelError: the folder does not load.
    """
    reference = references.readable(recipe, reference or folder)
    async with served(folder, **options) as model:
        measurement = Measurement(recipe, await model.about(), model.load_seconds)
        if recipe.kind == "reranker":
            await _scores(model, reference, measurement)
        else:
            await _vectors(model, reference, measurement)
            await _dimensions(model, measurement)
        if recipe.saved_as == "AutoModelForCausalLM":
            await _logits(model, reference, measurement)
    return measurement


def cosines(a: Matrix, b: Matrix) -> Matrix:
    """Cosine of each row of `a` with the same row of `b`."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / lengths)


async def _vectors(model: ServedModel, reference: Path, measurement: Measurement) -> None:
    truth = references.vectors(reference, TEXTS)
    ours = await model.vectors(TEXTS)
    measurement.worst_cosine = float(cosines(ours, truth).min())
    measurement.worst_alone = float(cosines(await model.alone(TEXTS), ours).min())
    measurement.shuffled_cosine = float(cosines(await model.vectors([SHUFFLED]), ours[2:3])[0])
    modules = measurement.recipe.modules
    if modules is None or not modules.normalize:
        lengths, wanted = (np.linalg.norm(rows, axis=1) for rows in (await model.vectors(TEXTS, RAW), truth))
        measurement.worst_length = float(np.abs(lengths / wanted - 1).max())
    if (prompt := measurement.recipe.query_prompt) is not None:
        prompted = await model.vectors(TEXTS[:1], prompt_name="query")
        measurement.prompt_cosine = float(cosines(prompted, references.vectors(reference, [prompt + TEXTS[0]]))[0])


async def _dimensions(model: ServedModel, measurement: Measurement) -> None:
    raw = await model.vectors(TEXTS[:3], RAW)
    width = raw.shape[1]
    for dimensions in (1, width // 2, width, width + 1):
        response = await model.post("/v1/embeddings", input=TEXTS[0], dimensions=dimensions)
        measurement.dimensions[dimensions] = response.status_code
    if measurement.dimensions[width // 2] == 200:
        ours = await model.vectors(TEXTS[:3], dimensions=width // 2)
        measurement.cut_cosine = float(cosines(ours, _cut(raw, width // 2, measurement.recipe)).min())


def _cut(raw: Matrix, dimensions: int, recipe: Recipe) -> Matrix:
    # Model card of nomic-embed-text-v1.5, "Adjusting dimensionality".
    if recipe.name.endswith("nomic-embed-text-v1.5"):
        wide = torch.from_numpy(raw)
        raw = torch.nn.functional.layer_norm(wide, normalized_shape=(wide.shape[1],)).numpy()
    return raw[:, :dimensions]


async def _scores(model: ServedModel, reference: Path, measurement: Measurement) -> None:
    documents = [*DOCUMENTS, LONG]
    ours = np.stack([await model.scores(query, documents) for query in QUERIES])
    truth = np.stack([references.scores(reference, query, documents) for query in QUERIES])
    alone = np.concatenate([await model.scores(QUERIES[0], [document]) for document in documents])
    measurement.worst_score = float(np.abs(ours - truth).max())
    measurement.worst_alone = float(np.abs(ours[0] - alone).max())
    measurement.log_odds_std = float(np.log(truth / (1 - truth)).std())
    measurement.label_logits = (await model.post(RAW, input=TEXTS[0], return_logits=[0])).status_code == 200


async def _logits(model: ServedModel, reference: Path, measurement: Measurement) -> None:
    truth = references.token_logits(reference, TEXTS[:4])
    all_logits = await _requested_logits(model, ())
    some_logits = await _requested_logits(model, LOGIT_IDS)
    measurement.worst_logit = float(
        max(np.abs(all_logits - truth).max(), np.abs(some_logits - truth[:, list(LOGIT_IDS)]).max())
    )


async def _requested_logits(model: ServedModel, ids: Sequence[int]) -> Matrix:
    return await model.vectors(TEXTS[:4], RAW, return_logits=list(ids))
