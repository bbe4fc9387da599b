"""A server in this process: the app, an engine in a thread, and a fake backend without weights."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from models import Backend, ModelInfo, NamedPrompts, Preprocessor, Qwen3RerankPrompt
from models.backends.fake import FakeBackend
from models.text.pair_prompt import pair_prompt
from models.text.qwen3_prompt import qwen3_rerank_prompt
from models.text.tokenizer import Tokenizer
from server.api.app import create_app
from server.config import Config, ModelConfig
from server.engine.admission import Admission
from server.engine.batching import BatchLimits
from server.engine.scheduler import Scheduler
from server.observability.metrics import Metrics
from server.registry import ModelRegistry, ServedModel
from tests.support.checkpoints.classifiers import bert_tokenizer
from tests.support.checkpoints.vocabulary import write_tokenizer
from tests.support.server.in_process_engine import InProcessEngine

PROMPTS = NamedPrompts({"query": "Query: ", "document": ""})
ROWS = 320
WIDTH = 8
BATCH = BatchLimits(1024, 64)
ADMISSION = Admission(10_000, 1000, 590)


def text_model(folder: Path, kind: Any = "embedder", **changes: Any) -> Preprocessor:
    """The preprocessor of a model whose tokens are bytes: "a" is 64, "b" is 65, the terminator is 260."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder, terminator=kind == "embedder")
    tokenizer = Tokenizer(folder / "tokenizer.json")
    prompt: Qwen3RerankPrompt | None = qwen3_rerank_prompt(tokenizer) if kind == "reranker" else None
    fields: dict[str, Any] = {
        "path": str(folder),
        "kind": kind,
        "kind_reason": "set by the test",
        "architecture": "Qwen3ForCausalLM",
        "model_type": "qwen3",
        "width": WIDTH,
        "max_tokens": 1000,
        "table_rows": ROWS,
        "head_rows": 0 if kind == "embedder" else ROWS,
        "pooling": "lasttoken",
        "matryoshka": True,
        "layer_norm_before_dimensions": False,
        "no_yes": (prompt.no, prompt.yes) if prompt else None,
    }
    return Preprocessor(ModelInfo(**fields | changes), tokenizer, prompt, PROMPTS)


def pair_model(folder: Path, **changes: Any) -> Preprocessor:
    """The preprocessor of a classification reranker: BERT pairs, over a few words and letters."""
    bert_tokenizer().save_pretrained(folder)
    tokenizer = Tokenizer(folder / "tokenizer.json")
    prompt = pair_prompt(tokenizer, has_types=True)
    info = text_model(folder / "fields", "reranker").info
    fields: dict[str, Any] = {"head_rows": 0, "no_yes": None, "classifier": True, "separator": prompt.separator}
    return Preprocessor(replace(info, path=str(folder), **fields | changes), tokenizer, prompt)


def served(text: Preprocessor, name: str, **options: Any) -> ServedModel:
    """A model in the registry, named as if it had weights."""
    digest = None if text.info.kind == "reranker" else "0123456789abcdef"
    return ServedModel(name, text, ModelConfig(path=text.info.path, **options), digest=digest)


@dataclass(frozen=True, slots=True)
class InProcessServer:
    """The parts of a running server, and a client for it."""

    app: FastAPI
    engine: InProcessEngine
    backend: FakeBackend
    metrics: Metrics
    client: httpx.AsyncClient

    async def embed(self, texts: Any, path: str = "/v1/embeddings", **fields: Any) -> httpx.Response:
        """Post an embeddings request."""
        return await self.client.post(path, json={"input": texts, **fields})

    def embed_later(self, texts: Any) -> "asyncio.Task[httpx.Response]":
        """Post an embeddings request in a task of its own."""
        return asyncio.create_task(self.embed(texts))

    async def until(self, happened: Callable[[], object]) -> None:
        """Let other tasks run until `happened()` is true."""
        await until(happened)


async def until(happened: Callable[[], object], timeout_s: float = 60) -> None:
    """Let other tasks run until `happened()` is true."""
    async with asyncio.timeout(timeout_s):
        while not happened():  # noqa: ASYNC110 (there is no event to wait for)
            # Not 0: a spinning test takes the core from the thread it waits for.
            await asyncio.sleep(0.001)


@asynccontextmanager
async def in_process_server(
    *models: ServedModel,
    backend: FakeBackend | None = None,
    load: Callable[[], Mapping[str, Backend]] | None = None,
    batch: BatchLimits = BATCH,
    admission: Admission = ADMISSION,
    wait: bool = True,
    **settings: Any,
) -> AsyncIterator[InProcessServer]:
    """A server for the duration of the block; with `wait`, its engine is ready when the block starts."""
    backend = backend or FakeBackend(WIDTH, ROWS)
    metrics = Metrics()
    load = load or (lambda: {model.id: backend for model in models})
    engine = InProcessEngine(lambda: Scheduler(load(), batch, metrics.batch), admission)
    async with engine:
        app = create_app(Config(**settings), ModelRegistry(models), engine, metrics)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hearth") as client:
            if wait:
                await until(lambda: engine.state().phase != "loading")
            yield InProcessServer(app, engine, backend, metrics, client)
        backend.gate.set()
