"""The configuration: what may be set, what it means, and its defaults. Frozen; unknown keys are errors."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from models import Dtype, Kind, LoadOptions, demo_models

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key and the fix."""


class Section(BaseModel):
    """A part of the configuration: frozen, and a key that nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelConfig(Section):
    """One served model."""

    path: str
    """A local folder in Hugging Face layout, or a hub id such as Qwen/Qwen3-Embedding-0.6B."""
    revision: str | None = None
    """The commit, tag or branch of a hub id; by default what the local cache has, else the newest."""
    id: str | None = None
    """The name that clients use; by default the hub id, or the folder's name. What is known of a published model, such
    as its prompts, goes by it too."""
    aliases: tuple[str, ...] = ()
    """Further names, so that a hard-coded text-embedding-3-small reaches this model."""
    kind: Kind | None = None
    """embedder, reranker or llm; by default decided from the files, and said at start."""
    dtype: Dtype = "auto"
    """auto is bfloat16 where the hardware has it natively, else float32."""
    device: str | Annotated[tuple[str, ...], Field(min_length=1)] = "auto"
    """auto, cpu, cuda, or cuda:N; of a list each device has the whole model, and requests are shared out."""
    backend: str = "auto"
    """auto takes the best way that is known to be right: packed, then transformers, then sentence_transformers; or
    transformers-padded, the library's own way with a batch."""
    max_tokens: Positive | None = None
    """Longest input in tokens; by default the model's own maximum, and never above it."""
    matryoshka: bool | tuple[Positive, ...] | None = None
    """Whether `dimensions` may be asked for, or the sizes that may; by default what is known of the model."""
    instruction: str | None = None
    """Of a reranker: the task when a request sends none. Of an embedder: the task in its prompt `query`."""
    prompt_name: str | None = None
    """The named prompt that is put before each text where a request names none; "" in a request puts none."""
    truncate: bool = False
    """Whether an input to embed that is too long is cut where a request does not say; else it is refused."""
    frame_rerank_prompts: bool = True
    """Whether a bare <Instruct>/<Query>/<Document> text sent with return_logits gets the official chat frame."""
    token_ids: Literal["auto", "native", "cl100k_base", "reject"] = "auto"
    """Token-id input: auto refuses ids of another vocabulary, or reads them as cl100k_base where tiktoken has its file;
    native takes any, cl100k_base reads all as OpenAI's, reject takes none."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Every device that has the model."""
        return (self.device,) if isinstance(self.device, str) else self.device

    def load_options(self, device: str | None = None) -> LoadOptions:
        """What models/ needs to know of this; `device` is one of its devices, by default the first."""
        return LoadOptions(
            kind=self.kind,
            id=self.id,
            dtype=self.dtype,
            device=device or self.devices[0],
            backend=self.backend,
            max_tokens=self.max_tokens,
            matryoshka=self.matryoshka,
        )


class RequestLimits(Section):
    """What one request may ask for."""

    inputs: Positive = 2048
    """Inputs of an embeddings request."""
    documents: Positive = 1000
    """Documents of a rerank request."""
    request_tokens: Positive = 2_000_000
    """Tokens of an embeddings request, counted as in `usage`."""
    rerank_tokens: Positive = 2_000_000
    """Tokens of a rerank request; the shared query counts for every document."""
    response_floats: Positive = 16_777_216
    """Numbers in one answer."""
    body_bytes: Positive = 32 * 1024 * 1024
    """Size of a request body."""
    body_timeout_s: Seconds = 60
    """How long a request body may take to arrive."""


class Batching(Section):
    """How the engine fills forward passes, and how much may wait for it."""

    max_tokens: Positive | None = None
    """Tokens of one forward pass; by default 1024 on CPU and 16384 on a GPU."""
    max_items: Positive = 2048
    """Inputs of one forward pass."""
    queue_tokens: Positive = 4_000_000
    """Tokens that may wait before requests are refused with 429; never below the largest allowed request."""
    queue_items: Positive = 100_000
    """Inputs that may wait, likewise."""


class Auth(Section):
    """Who may call. With no keys the server is open."""

    keys: tuple[str, ...] = Field(default=(), repr=False)
    """Accepted API keys, sent as `Authorization: Bearer`, `x-api-key` or `api-key`."""
    keys_file: Path | None = None
    """A file with one key a line; blank lines and lines that start with # do not count."""
    metrics_open: bool = False
    """Whether /metrics answers without a key."""
    pages_open: bool = True
    """Whether /docs and /openapi.json answer without a key."""


class Config(Section):
    """Everything Hearth can be told."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one and prints it."""
    models: Annotated[tuple[ModelConfig, ...], Field(min_length=1)] = tuple(
        ModelConfig(path=path) for path in demo_models()
    )
    """The served models; the first of a kind is the default of its kind. With none given: the built-in demo pair."""
    limits: RequestLimits = RequestLimits()
    batching: Batching = Batching()
    auth: Auth = Auth()
    request_timeout_s: Seconds = 590
    """How long a request may take; SDKs give up at 600 seconds and send it again."""
    drain_timeout_s: Seconds = 60
    """How long requests in flight may take to finish after SIGTERM."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call this server from a browser; `*` is any."""
    workers: Positive = 1
    """HTTP processes that share the port; one serves thousands of short requests a second."""
    log_format: Literal["text", "json"] = "text"
    """How log lines are written."""
