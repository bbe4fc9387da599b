"""The space of the vectors in an answer, and requests that expect another one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import Calibration, NamedPrompts, demo_models
from server.config import ModelConfig
from server.processing.outputs import spaces
from server.processing.outputs.spaces import EXPECTED_SPACE, SpaceNames
from server.registry import ServedModel, load_registry
from tests.support.server.in_process import in_process_server, until

EMBEDDER = demo_models()[0]
CALIBRATION = Calibration(np.random.default_rng(0).normal(0, 1, (20, 8)).astype(np.float32), {})


@pytest.fixture
def named(embedder: ServedModel) -> ServedModel:
    return replace(embedder, digest="0123456789abcdef", calibration=CALIBRATION)


def _name(model: ServedModel, **how: Any) -> str:
    return str(SpaceNames([model], None).named(model, None, **how).header)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/embeddings", {"input": "a"}, ["float32.8.unit"]),
        ("/v1/embeddings", {"input": "a", "dimensions": 4, "output_dtype": "float16"}, ["float16.4.unit"]),
        ("/inference/v1/embeddings", {"input": "a"}, ["float32.8.raw"]),
        ("/embed", {"inputs": "a", "output_dtype": "int8"}, [f"int8-{CALIBRATION.digest}.8.unit"]),
        (
            "/v2/embed",
            {"texts": ["a"], "embedding_types": ["float", "ubinary", "base64"]},
            ["float32.8.unit", f"ubinary-{CALIBRATION.digest}.8.unit"],
        ),
    ],
)
async def test_every_route_names_the_space_of_each_form(
    named: ServedModel, path: str, body: dict[str, Any], expected: list[str]
) -> None:
    async with in_process_server(named) as here:
        answer = await here.client.post(path, json=body)

    names = answer.headers["x-hearth-space"].split(",")
    assert [name.split(".", 4)[4] for name in names] == expected
    assert {name.split(".")[2] for name in names} == {"float32"}


async def test_a_space_that_is_expected_is_met_or_refused_before_anything_runs(named: ServedModel) -> None:
    async with in_process_server(named) as here:
        space = (await here.embed("a")).headers["x-hearth-space"]
        headers = {EXPECTED_SPACE: space}
        ran = len(here.backend.batches)
        same = await here.client.post("/v1/embeddings", json={"input": "a"}, headers=headers)
        compatible = await here.client.post("/embed", json={"inputs": "a", "output_dtype": "float16"}, headers=headers)
        shorter = await here.client.post("/v1/embeddings", json={"input": "a", "dimensions": 4}, headers=headers)
        bits = await here.client.post("/embed", json={"inputs": "a", "output_dtype": "binary"}, headers=headers)
        nonsense = await here.client.post("/embed", json={"inputs": "a"}, headers={EXPECTED_SPACE: "mine"})

    assert [answer.status_code for answer in (same, compatible, shorter, bits, nonsense)] == [200, 200, 409, 409, 400]
    assert shorter.json()["error"]["code"] == "space_mismatch"
    assert "dimensions 8 there and 4 here" in shorter.text
    assert EXPECTED_SPACE in nonsense.text
    assert len(here.backend.batches) == ran + 2


async def test_models_are_listed_with_their_space_and_losses(named: ServedModel, reranker: ServedModel) -> None:
    async with in_process_server(named, reranker) as here:
        listed = (await here.client.get("/v1/models")).json()["data"]
        space = (await here.embed("a")).headers["x-hearth-space"]

    assert listed[0]["hearth"]["space"] == space
    assert listed[0]["hearth"]["losses"] == {}
    assert "space" not in listed[1]["hearth"]


async def test_logits_and_similarities_lie_in_no_space(named: ServedModel, reranker: ServedModel) -> None:
    body = {"inputs": {"source_sentence": "a", "sentences": ["b"]}}
    async with in_process_server(named, reranker) as here:
        logits = await here.embed("a", model="reranker", return_logits=[1])
        cosines = await here.client.post("/similarity", json=body)

    assert "x-hearth-space" not in {**logits.headers, **cosines.headers}


def test_prompts_and_files_name_the_model(named: ServedModel) -> None:
    prompts = replace(named.preprocessor, prompts=NamedPrompts({"query": "other: "}))
    models = [
        named,
        replace(named, digest="f" * 16),
        replace(named, preprocessor=prompts),
        replace(named, config=ModelConfig(path="x", prompt_name="query")),
    ]

    names = {_name(model).split(".")[1] for model in models}

    assert len(names) == len(models)
    assert _name(named) == _name(replace(named, id="other", config=ModelConfig(path="elsewhere")))


async def test_a_large_model_is_named_while_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedder: ServedModel
) -> None:
    monkeypatch.setattr("server.registry.READ_AT_START_BYTES", 0)
    (model,) = load_registry([ModelConfig(path=EMBEDDER)], tmp_path).models
    names = SpaceNames([model], tmp_path)
    assert model.digest is None

    await until(lambda: names.named(model, None).header)

    monkeypatch.undo()
    (known,) = load_registry([ModelConfig(path=EMBEDDER)], tmp_path).models
    assert names.named(model, None).header == _name(known)


async def test_until_then_nothing_is_said_and_an_expectation_waits(
    embedder: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces.SpaceNames, "_hash_soon", lambda self: None)
    async with in_process_server(replace(embedder, digest=None)) as here:
        plain = await here.embed("a")
        space = "hearth1.a.float32.1000.float32.8.unit"
        expecting = await here.client.post("/v1/embeddings", json={"input": "a"}, headers={EXPECTED_SPACE: space})

    assert "x-hearth-space" not in plain.headers
    assert (expecting.status_code, expecting.json()["error"]["code"]) == (503, "space_unknown")
    assert int(expecting.headers["retry-after"]) > 0


def test_names_are_made_once_and_not_kept_without_end(named: ServedModel) -> None:
    names = SpaceNames([named], None)

    assert names.named(named, None) is names.named(named, None)
    for dimensions in range(2 * spaces.MAX_KEPT_NAMES):
        assert names.named(named, None, dimensions=dimensions + 1).spaces[0].dimensions == dimensions + 1

    assert len(names._kept) <= spaces.MAX_KEPT_NAMES
