"""The application with its engine in the same process, mounted below another application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from server.config import Auth, Config, ConfigError, ModelConfig
from tests.support.checkpoints.qwen3 import build
from tests.support.server.running_app import running_app


@asynccontextmanager
async def mounted(tmp_path: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that has Hearth at /search."""
    model = ModelConfig(path=str(build(tmp_path / "mine")), backend="fake")
    async with running_app(Config(models=(model,), **settings)) as app:
        outer = FastAPI()
        outer.mount("/search", app)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://program/search") as client:
            async with asyncio.timeout(10):
                while (await client.get("/ready")).status_code != 200:  # noqa: ASYNC110 (readiness has no event over HTTP)
                    await asyncio.sleep(0)
            yield client


async def test_an_app_that_is_mounted_below_another_serves(tmp_path: Path) -> None:
    async with mounted(tmp_path) as client:
        answer = await client.post("/v1/embeddings", json={"input": ["a", "b"], "dimensions": 8})

    assert [len(item["embedding"]) for item in answer.json()["data"]] == [8, 8]


async def test_its_base_urls_and_open_paths_are_below_the_mount(tmp_path: Path) -> None:
    async with mounted(tmp_path, auth=Auth(keys=("key",))) as client:
        answer = await client.post("/inference/v1/embeddings", json={"input": "a"})

    assert answer.status_code == 401
    assert list(answer.json()) == ["error"]


async def test_several_devices_are_refused(tmp_path: Path) -> None:
    model = ModelConfig(path=str(build(tmp_path / "mine")), backend="fake", device=("cpu", "cuda:1"))

    with pytest.raises(ConfigError, match="supports one device, and the models use cpu, cuda:1"):
        async with running_app(Config(models=(model,))):
            pass
