"""The configuration: every setting, its meaning and its default. Frozen; an unknown key is an error.

The docstrings of settings are the reference in docs/configuration.md.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models import Dtype, Kind, LoadOptions, default_models, model_id

Positive = Annotated[int, Field(ge=1)]
# Below a millisecond nothing is ever done in time.
Seconds = Annotated[float, Field(ge=0.001)]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info"]


def _as_prefix(path: str) -> str:
    stripped = path.strip("/")
    return f"/{stripped}" if stripped else ""


def default_state_folder() -> Path:
    """The folder of the XDG Base Directory Specification for what is kept, but can be made again."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path("~/.local/state").expanduser()) / "hearth"


class ConfigError(Exception):
    """The configuration cannot be used; the message names the file, the key and the fix."""


class Section(BaseModel):
    """A part of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelConfig(Section):
    """One served model. A text stands for an object that has it as its `path`."""

    path: str
    """A local folder in Hugging Face layout, a hub id such as `Qwen/Qwen3-Embedding-0.6B`, `package:` and the name of
    an installed Python package that holds a model, or a built-in model: `demo-embedding`, `demo-reranker` and, if the
    extra `minilm` is installed, `all-MiniLM-L6-v2`. A local folder of that name wins."""
    revision: str | None = None
    """The commit, tag or branch of a hub id. By default the revision in the local cache, or the newest if none is
    there."""
    id: str | None = None
    """The model's name for clients. By default the hub id, or the name of the folder. For a published model it also
    selects what Hearth knows of that model, such as its prompts."""
    aliases: tuple[str, ...] = ()
    """Further names, for example a `text-embedding-3-small` that is hard-coded in existing clients."""
    kind: Kind | None = None
    """What the model is used for. By default decided from its files; `log_level: debug` says how."""
    dtype: Dtype = "auto"
    """Data type to compute in. `auto` is bfloat16 where the hardware supports it natively, else float32."""
    device: str | Annotated[tuple[str, ...], Field(min_length=1)] = "auto"
    """`auto`, `cpu`, `cuda` or `cuda:N`; `auto` is `cuda` if there is one, else `cpu`. With a list, every device loads
    the whole model, and requests are distributed over them."""
    backend: str = "auto"
    """The code that runs the model: `packed` (Hearth's own networks of decoders), `encoder` (Hearth's own BERT),
    `transformers`, `sentence_transformers`, or `transformers-padded` (transformers with padded batches). `auto` is the
    first of the first four that is known to be correct for the model."""
    max_tokens: Positive | None = None
    """The longest input, in tokens. By default, and at most, the model's own maximum."""
    matryoshka: bool | tuple[Positive, ...] | None = None
    """Whether requests may set `dimensions`, or the list of sizes they may choose. By default what is known of the
    model."""
    instruction: str | None = None
    """Default instruction. Reranker: used when a request sends none. Embedder: replaces the task in its `query`
    prompt."""
    prompt_name: str | None = None
    """The named prompt that is put before each text when a request names none; `""` in a request means no prompt."""
    truncate: bool = False
    """Whether an input of an embeddings request that is too long is cut when the request does not say. If not, it is
    refused."""
    frame_rerank_prompts: bool = True
    """Whether a bare `<Instruct>`/`<Query>`/`<Document>` text sent with `return_logits` gets the official chat
    frame."""
    terminator: str | None = None
    """The token that ends each text of an embedder, such as `<|endoftext|>`, where its files disagree about it; `""`
    for what tokenizer.json adds."""
    rerank_frame: Literal["qwen3", "none"] | None = None
    """What a Qwen3 classifier is shown: the prompt of Qwen3-Reranker, or a plain pair (`none`). By default a plain pair
    where sentence-transformers saved it under another name, else the prompt."""
    control_tokens: tuple[str, ...] | None = None
    """The added tokens of an embedder that no text of a user becomes: they are spelt out. By default those that are
    marked as special or belong to a chat, except those of the model's own prompts; `[]` is none."""
    ignore_entries: tuple[str, ...] = ()
    """Entries of config.json that are read as if they were not there. For entries that Hearth refuses because they may
    change numbers, where the model was trained without them, and for those of a warning in the log."""
    token_ids: Literal["auto", "native", "cl100k_base", "reject"] = "auto"
    """How token ids in `input` are read. `native`: as the model's own. `cl100k_base`: as OpenAI's. `auto`: as the
    model's own if they look like it, else as OpenAI's if tiktoken has that vocabulary in its cache, else they are
    refused. `reject`: always refused."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @property
    def devices(self) -> tuple[str, ...]:
        """Every device that loads the model."""
        return (self.device,) if isinstance(self.device, str) else self.device

    def load_options(self, device: str | None = None) -> LoadOptions:
        """The options for models/; `device` is one of this model's devices, by default the first."""
        return LoadOptions(
            kind=self.kind,
            id=self.id or model_id(self.path),
            dtype=self.dtype,
            device=device or self.devices[0],
            backend=self.backend,
            max_tokens=self.max_tokens,
            matryoshka=self.matryoshka,
            terminator=self.terminator,
            rerank_frame=self.rerank_frame,
            control_tokens=self.control_tokens,
            ignore_entries=self.ignore_entries,
        )


class RequestLimits(Section):
    """Limits of one request. A request over a limit is refused before it is queued."""

    inputs: Positive = 2048
    """Inputs of an embeddings request."""
    documents: Positive = 1000
    """Documents of a rerank request."""
    request_tokens: Positive = 2_000_000
    """Tokens of an embeddings request, counted as in `usage`."""
    rerank_tokens: Positive = 2_000_000
    """Tokens of a rerank request. The query counts once for each document."""
    response_floats: Positive = 16_777_216
    """Numbers in one response: inputs × dimensions, or inputs × logits."""
    body_bytes: Positive = 32 * 1024 * 1024
    """Bytes of a request body."""
    body_timeout_s: Seconds = 60
    """Seconds for a request body to arrive."""


# With smaller parts, more time would go into their beginnings and ends.
LEAST_CHUNK_TOKENS = 64


def _as_chunk(tokens: int) -> int:
    if 0 < tokens < LEAST_CHUNK_TOKENS or tokens < 0:
        raise ValueError(f"must be 0 (texts are computed as a whole) or at least {LEAST_CHUNK_TOKENS}; got {tokens}")
    return tokens


class Batching(Section):
    """The size of forward passes, and of the queue before them."""

    max_tokens: Positive | None = None
    """Tokens of one forward pass. By default 1024 on CPU and 16384 on a GPU; less on a GPU whose memory is too small
    for that, which is tried at the start."""
    max_items: Positive = 2048
    """Inputs of one forward pass."""
    chunk_tokens: Annotated[int, AfterValidator(_as_chunk)] | None = None
    """On a CPU, a text of more than `max_tokens` is computed in parts, and other batches run between them. Each part
    takes about as long as a batch of this many tokens. 0: texts are computed as a whole. By default 512 where the
    backend is `packed`; other backends, and all on a GPU, compute each text as a whole."""
    queue_tokens: Positive = 4_000_000
    """Tokens that may wait for one model. More are refused with 429 and `Retry-After`. An empty queue accepts one
    request of any size."""
    queue_items: Positive = 100_000
    """Inputs that may wait for one model. More are refused likewise."""
    queue_seconds: Seconds = 6
    """Seconds that a request may have to wait for other requests, as expected from the speed of the device. If it would
    be more, the request is refused likewise. The time for the request itself does not count."""


def _as_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not all(key.strip() for key in keys):
        raise ValueError("must be keys that are not empty; remove `keys` to serve without keys")
    return keys


class Auth(Section):
    """API keys. Without keys the server is open to everyone who reaches its port."""

    keys: Annotated[tuple[str, ...], AfterValidator(_as_keys)] = Field(default=(), repr=False)
    """Accepted API keys, sent as `Authorization: Bearer`, `x-api-key` or `api-key`."""
    keys_file: Path | None = None
    """A file with one key per line; blank lines and lines that start with `#` are skipped. SIGHUP makes the server
    read it again."""
    metrics_open: bool = False
    """Whether `/metrics` answers without a key."""
    pages_open: bool = True
    """Whether the pages `/` and `/docs` with their files, and `/openapi.json`, answer without a key."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Config(Section):
    """The server and its processes."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` is every IPv4 interface, and `::` every interface, IPv4 too."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on; 0 chooses a free one, and the log says which."""
    probe_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """A second port, which answers `/live`, `/health` and `/ready` from a thread even while `port` cannot. Without
    keys, for the machines that may watch this one. `port` answers them too."""
    models: Annotated[tuple[ModelConfig, ...], Field(min_length=1), BeforeValidator(_listed)] = Field(
        default_factory=lambda: tuple(ModelConfig(path=path) for path in default_models())
    )
    """The served models: hub ids or folders, or objects with the keys below. By default all-MiniLM-L6-v2, if the extra
    `minilm` is installed, and the built-in demo pair. The first model of a kind serves requests without `model`."""
    limits: RequestLimits = RequestLimits()
    batching: Batching = Batching()
    auth: Auth = Auth()
    require_gpu: bool = False
    """Whether the start fails where a model's device `auto` would be the CPU. The CUDA image sets it: without a GPU or
    with an old driver it would serve slowly on the CPU. Models with `device: cpu` run there anyway."""
    gpu_memory: Annotated[float, Field(ge=0.01, le=1)] = 1.0
    """Share of a GPU's memory that an engine may use, such as 0.5 beside another program. Batches become as small as
    they must be; models that do not fit end the start."""
    body_memory_bytes: Positive = 256 * 1024 * 1024
    """Bytes of request bodies that one HTTP process holds at a time, until their answers. Above it a body is refused
    with 429 and `Retry-After` before it is read. An eighth is left for bodies of up to 64 KiB."""
    request_timeout_s: Seconds = 590
    """Seconds that a request may take. OpenAI's SDKs give up after 600 seconds and send the request again."""
    keep_alive_s: Annotated[int, Field(ge=1, le=86_400)] = 75
    """Seconds that a connection may be idle between two requests. Longer than clients and proxies keep it, so that they
    close it and not this server: most keep it for 60 seconds."""
    drain_timeout_s: Seconds = 60
    """Seconds after SIGTERM in which running requests may finish."""
    root_path: Annotated[str, AfterValidator(_as_prefix)] = ""
    """Prefix of the address under which a proxy publishes this server, such as `/search`. It makes the addresses in
    `/docs` and `/openapi.json` right. The proxy may remove the prefix from a path or leave it there."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names of this server, such as `hearth.example.com` behind a proxy; `*` is any. Only a server without
    keys on a loopback `host` looks at them: other names in `Host` are refused, and so are web pages of other sites."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call this server from a browser; `*` is any."""
    workers: Positive = 1
    """HTTP processes that share the port. One serves thousands of short requests per second."""
    max_requests: Positive = 2048
    """Requests in progress in one HTTP process. More are refused with 429 before their bodies are read; probes and
    `/metrics` are always answered."""
    state_folder: Path | None = Field(default_factory=default_state_folder)
    """Folder for what is measured of models once: their calibrations, and checksums of large files. By default
    `hearth` in `$XDG_STATE_HOME`, or in `~/.local/state`. Null keeps nothing and reads nothing."""
    log_format: LogFormat = "text"
    """`text` for people, `json` for machines: one object per line."""
    log_level: LogLevel = "info"
    """`debug` also logs why a model is an embedder or a reranker, why it runs on its backend, and every probe."""
