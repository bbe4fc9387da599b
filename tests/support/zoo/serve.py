"""A server of one model within this process, loaded as `hearth serve` loads it and asked as a client asks."""

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
class Served:
    """One loaded model behind both base URLs."""

    client: httpx.AsyncClient
    id: str
    load_seconds: float

    async def about(self) -> dict[str, Any]:
        """What GET /v1/models says of it."""
        listed = (await self.client.get("/v1/models")).raise_for_status().json()["data"]
        return {"context_length": listed[0]["context_length"], **listed[0]["hearth"]}

    async def vectors(self, texts: Sequence[str], path: str = UNIT, **fields: Any) -> Matrix:
        """One row for each text; texts are cut to what the model takes."""
        answer = await self.post(path, input=list(texts), truncate=True, **fields)
        return np.array([item["embedding"] for item in answer.raise_for_status().json()["data"]])

    async def alone(self, texts: Sequence[str]) -> Matrix:
        """The same, one request for each text."""
        return np.concatenate([await self.vectors([text]) for text in texts])

    async def scores(self, query: str, documents: Sequence[str]) -> Matrix:
        """The documents' scores, in their own order."""
        answer = (await self.post("/v1/rerank", query=query, documents=list(documents))).raise_for_status().json()
        found = {item["index"]: item["relevance_score"] for item in answer["results"]}
        return np.array([found[index] for index in range(len(documents))])

    async def post(self, path: str, **body: Any) -> httpx.Response:
        """A request of one's own."""
        return await self.client.post(path, json={"model": self.id, **body})


@asynccontextmanager
async def served(folder: Path, **options: Any) -> AsyncIterator[Served]:
    """One of it, in float32 unless `options` (of ModelConfig) say otherwise.

    Raises: ModelError: what `hearth serve` would say before it ends.
    """
    config = Config(models=(ModelConfig(path=str(folder), **({"dtype": "float32"} | options)),))
    started = perf_counter()
    async with (
        running_app(config) as app,
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hearth", timeout=60) as client,
    ):
        await _until_ready(client)
        yield Served(client, folder.name, perf_counter() - started)


async def _until_ready(client: httpx.AsyncClient) -> None:
    while (answer := (await client.get("/health")).json())["status"] != "ready":
        if answer["status"] == "failed":
            raise ModelError(answer["reason"])
        await asyncio.sleep(0.005)
