"""Forms of vectors on every route that gives vectors, in every spelling, from one table."""

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from models import Calibration, Item, RankingLoss, Row
from models.backends.fake import FakeBackend
from server.registry import ServedModel
from tests.support.server.in_process import WIDTH, in_process_server

ROWS = np.random.default_rng(0).normal(0.1, 1, (50, WIDTH)).astype(np.float32)
CALIBRATION = Calibration(ROWS, {"binary": RankingLoss(0.5, 0.8, 0.99)})
NUMBERS = {"float16": "<f2", "int8": "i1", "uint8": "u1", "binary": "i1", "ubinary": "u1"}
FORMS = list(NUMBERS)


def _data(answer: httpx.Response) -> Any:
    return answer.json()["data"][0]["embedding"]


def _bare(answer: httpx.Response) -> Any:
    return answer.json()[0]


def _bytes(answer: httpx.Response, dtype: str) -> list[float]:
    return np.frombuffer(answer.content, NUMBERS[dtype]).tolist()


def _base64(answer: httpx.Response, dtype: str) -> list[float]:
    return np.frombuffer(base64.b64decode(_data(answer)), NUMBERS[dtype]).tolist()


def _plain(read: Callable[[httpx.Response], Any]) -> Callable[[httpx.Response, str], Any]:
    return lambda answer, dtype: read(answer)


Read = Callable[[httpx.Response, str], Any]
# Path, the other fields, the field that names the form, its value, and how a client reads the vector.
ROUTES: list[tuple[str, dict[str, Any], str, Callable[[str], Any], Read]] = [
    ("/v1/embeddings", {"input": "a"}, "output_dtype", str, _plain(_data)),
    ("/v1/embeddings", {"input": "a"}, "precision", str, _plain(_data)),
    ("/v1/embeddings", {"input": "a"}, "embedding_type", str, _plain(_data)),
    ("/v1/embeddings", {"input": "a"}, "embedding_types", lambda dtype: [dtype], _plain(_data)),
    ("/v1/embeddings", {"input": "a"}, "encoding_format", str, _plain(_data)),
    ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}, "output_dtype", str, _base64),
    ("/v1/embeddings", {"input": "a", "encoding_format": "bytes"}, "embed_dtype", str, _bytes),
    ("/inference/v1/embeddings", {"input": "a", "normalize": True}, "output_dtype", str, _plain(_data)),
    ("/v1/embed", {"texts": ["a"]}, "output_dtype", str, lambda a, dtype: a.json()["embeddings"][dtype][0]),
    ("/v1/embed", {"texts": ["a"]}, "embedding_types", lambda d: [d], lambda a, d: a.json()["embeddings"][d][0]),
    ("/v2/embed", {"texts": ["a"]}, "embedding_types", lambda d: [d], lambda a, d: a.json()["embeddings"][d][0]),
    ("/embed", {"inputs": "a"}, "output_dtype", str, _plain(_bare)),
    ("/", {"inputs": "a"}, "output_dtype", str, _plain(_bare)),
]


def _read(read: Read, answer: httpx.Response, dtype: str) -> list[Any]:
    numbers = list(read(answer, dtype))
    return [np.float16(number) for number in numbers] if dtype == "float16" else numbers


def _expected(vector: np.ndarray[Any, Any], dtype: str, *, dimensions: int = WIDTH) -> Any:
    """The form by its definition, one number after another."""
    units = ROWS[:, :dimensions] / np.linalg.norm(ROWS[:, :dimensions], axis=1, keepdims=True)
    if dtype == "float16":
        return [np.float16(number) for number in vector]
    if dtype in ("binary", "ubinary"):
        bits = "".join(str(int(number > mean)) for number, mean in zip(vector, units.mean(axis=0), strict=True))
        byte = int(bits.ljust(8, "0"), 2)
        return [byte if dtype == "ubinary" else byte - 128]
    limit = float(np.abs(units).max())
    levels = [int(np.clip(np.floor(float(number) * 127 / limit + 0.5), -127, 127)) for number in vector]
    return [level + 128 for level in levels] if dtype == "uint8" else levels


@pytest.mark.parametrize("dtype", FORMS)
async def test_each_form_is_the_same_on_every_route(embedder: ServedModel, dtype: str) -> None:
    wrong = []
    async with in_process_server(replace(embedder, calibration=CALIBRATION)) as here:
        vector = np.asarray(_data(await here.embed("a")))
        for path, body, field, value, read in ROUTES:
            answer = await here.client.post(path, json={**body, field: value(dtype)})
            if answer.status_code != 200 or _read(read, answer, dtype) != _expected(vector, dtype):
                wrong.append((path, field, answer.text))

    assert wrong == []


@pytest.mark.parametrize("dtype", FORMS)
async def test_a_shorter_vector_is_cut_before_its_numbers_are_rounded(embedder: ServedModel, dtype: str) -> None:
    async with in_process_server(replace(embedder, calibration=CALIBRATION)) as here:
        vector = np.asarray(_data(await here.embed("a", dimensions=5)))
        answer = await here.embed("a", dimensions=5, output_dtype=dtype)

    assert _read(_plain(_data), answer, dtype) == _expected(vector, dtype, dimensions=5)


async def test_several_forms_come_with_one_request(embedder: ServedModel) -> None:
    types = ["float", "int8", "binary", "base64"]
    async with in_process_server(replace(embedder, calibration=CALIBRATION)) as here:
        answer = await here.client.post("/v2/embed", json={"texts": ["a", "b"], "embedding_types": types})

    embeddings = answer.json()["embeddings"]
    assert list(embeddings) == types
    assert np.frombuffer(base64.b64decode(embeddings["base64"][1]), "<f4") == pytest.approx(embeddings["float"][1])
    assert len(here.backend.batches) == 1


@pytest.mark.parametrize("dtype", ["binary", "ubinary"])
async def test_bits_of_a_model_that_nobody_measured_are_refused_on_every_route(
    embedder: ServedModel, dtype: str
) -> None:
    wrong = []
    async with in_process_server(embedder) as here:
        for path, body, field, value, _ in ROUTES:
            answer = await here.client.post(path, json={**body, field: value(dtype)})
            if answer.status_code != 400 or f"Invalid '{field}': '{dtype}'" not in answer.text:
                wrong.append((path, field, answer.text))

    assert wrong == []
    assert "Run `hearth calibrate embedder` and start the server again" in answer.text
    assert here.backend.batches == []


async def test_unscaled_vectors_have_no_known_range_until_they_are_measured(embedder: ServedModel) -> None:
    path = "/inference/v1/embeddings"
    async with in_process_server(embedder) as here:
        refused = await here.embed("a", path, output_dtype="int8")
        unit = await here.embed("a", path, output_dtype="int8", normalize=True)
    async with in_process_server(replace(embedder, calibration=CALIBRATION)) as here:
        measured = await here.embed("a", path, output_dtype="int8")

    assert (refused.status_code, unit.status_code, measured.status_code) == (400, 200, 200)
    assert refused.json()["error"]["param"] == "output_dtype"


async def test_vectors_of_length_1_are_int8_at_once(embedder: ServedModel) -> None:
    async with in_process_server(embedder) as here:
        vector = np.asarray(_data(await here.embed("a")))
        numbers = np.asarray(_data(await here.embed("a", output_dtype="int8")))

    assert np.abs(numbers / 127 - vector).max() <= 0.501 / 127


async def test_a_number_that_float16_does_not_have_is_refused(embedder: ServedModel) -> None:
    class Far(FakeBackend):
        def row(self, item: Item) -> Row:
            return super().row(item) * np.float32(1e6)

    async with in_process_server(embedder, backend=Far(WIDTH)) as here:
        answer = await here.embed("a", "/inference/v1/embeddings", output_dtype="float16")

    assert answer.status_code == 400
    assert "float16 ends at 65504" in answer.text


async def test_the_metadata_of_bytes_name_the_form(embedder: ServedModel) -> None:
    async with in_process_server(replace(embedder, calibration=CALIBRATION)) as here:
        answer = await here.embed(["a", "b"], output_dtype="binary", encoding_format="bytes")

    assert '"dtype":"binary","endianness":"little","shape":[2,1]' in answer.headers["metadata"]
    assert len(answer.content) == 2


@pytest.mark.parametrize("parameters", [{"output_dtype": "int8"}, {"precision": "binary"}])
async def test_similarities_are_those_of_float32(embedder: ServedModel, parameters: dict[str, str]) -> None:
    body = {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": parameters}
    async with in_process_server(embedder) as here:
        answer = await here.client.post("/similarity", json=body)

    assert answer.status_code == 400
    assert f"parameters.{next(iter(parameters))}" in answer.text
