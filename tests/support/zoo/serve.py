"""A server of one model within this process: loaded as `hearth serve` loads it, requested as a client does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from models import ModelError
from server.config import Config, ModelConfig
from tests.support.server.running_app import running_app

Matrix = NDArray[np.float64]

UNIT = "/v1/embeddings"
RAW = "/inference/v1/embeddings"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One loaded model behind both base URLs."""

    client: httpx.AsyncClient
    id: str
    load_seconds: float

    async def about(self) -> dict[str, Any]:
        """Return what GET /v1/models says about the model."""
        models = (await self.client.get("/v1/models")).raise_for_status().json()["data"]
        return {"context_length": models[0]["context_length"], **models[0]["hearth"]}

    async def vectors(self, texts: Sequence[str], path: str = UNIT, **fields: Any) -> Matrix:
        """Return one row for each text. Texts that are too long are cut."""
        response = await self.post(path, input=list(texts), truncate=True, **fields)
        return np.array([item["embedding"] for item in response.raise_for_status().json()["data"]])

    async def alone(self, texts: Sequence[str]) -> Matrix:
        """Return the same rows, from one request for each text."""
        return np.concatenate([await self.vectors([text]) for text in texts])

    async def scores(self, query: str, documents: Sequence[str]) -> Matrix:
        """Return the documents' scores in the order of the documents."""
        body = (await self.post("/v1/rerank", query=query, documents=list(documents))).raise_for_status().json()
        by_index = {item["index"]: item["relevance_score"] for item in body["results"]}
        return np.array([by_index[index] for index in range(len(documents))])

    async def post(self, path: str, **body: Any) -> httpx.Response:
        """Send any fields to any path."""
        return await self.client.post(path, json={"model": self.id, **body})


@asynccontextmanager
async def served(folder: Path, **options: Any) -> AsyncIterator[ServedModel]:
    """Serve the folder's model, in float32 unless `options` (fields of ModelConfig) say otherwise.

    Raises: ModelError: the reason for which `hearth serve` would end.
    """
    config = Config(models=(ModelConfig(path=str(folder), **({"dtype": "float32"} | options)),))
    started = perf_counter()
    async with (
        running_app(config) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hearth", timeout=60) as client,
    ):
        await _until_ready(client)
        yield ServedModel(client, folder.name, perf_counter() - started)


async def _until_ready(client: httpx.AsyncClient) -> None:
    while (health := (await client.get("/health")).json())["status"] != "ready":
        if health["status"] == "failed":
            raise ModelError(health["reason"])
        await asyncio.sleep(0.005)
