"""What a model is to the rest of Hearth: token ids in, float32 rows out. No torch, no HTTP, no threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ids: TypeAlias = NDArray[np.int32]
Row: TypeAlias = NDArray[np.float32]
Side = Literal["left", "right"]
Kind = Literal["embedder", "reranker", "llm"]
Pooling = Literal["lasttoken", "mean", "cls", "max"]
Dtype = Literal["auto", "bfloat16", "float16", "float32"]
# How the texts of a batch lie before the network: shared prefixes once; one after another; padded to one length; apart.
BatchLayout = Literal["packed", "unpadded", "padded", "alone"]


@dataclass(frozen=True, slots=True)
class Readout:
    """What is read from a model at the end of an item.

    `vector`: the pooled hidden state after the final norm, [H].
    `logits`: the head's logits of `ids` at the last token, [len(ids)]; of every token, [V], when `ids` is empty.
    `score`: logit(yes) - logit(no) at the last token, [1]; of a classifier its head's one logit.
    """

    what: Literal["vector", "logits", "score"]
    ids: tuple[int, ...] = ()


@dataclass(slots=True, eq=False)
class SplitPass:
    """The forward pass of one text in several batches, each of which computes a part. It holds memory until it is done.

    `exact` asks for float32 activations. `state` belongs to the backend, and is None before the first part.
    """

    exact: bool = False
    state: object = None


@dataclass(frozen=True, slots=True)
class Item:
    """One input as the device sees it: token ids, int32 [n], n >= 1, and what is read at their end.

    With `split` it is a batch of its own, after which the share `until` of its pass is done; its row has no numbers
    while that is below 1.
    """

    ids: Ids
    readout: Readout
    split: SplitPass | None = None
    until: float = 1.0


RerankFrame = Literal["qwen3", "none"]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a checkpoint is loaded. None and "auto" mean: as its files say, or as suits the machine."""

    kind: Kind | None = None
    id: str | None = None  # the id it is served under: facts about published models are looked up by it too
    dtype: Dtype = "auto"
    device: str = "auto"
    backend: str = "auto"
    max_tokens: int | None = None  # a limit at or below the model's own, in tokens
    matryoshka: bool | tuple[int, ...] | None = None
    terminator: str | None = None  # the token that ends each text of an embedder; "" for what tokenizer.json says
    # What a Qwen3 classifier is shown: Qwen3-Reranker's prompt, or a plain pair.
    rerank_frame: RerankFrame | None = None
    # The added tokens that no text of a user becomes; None for what the files say.
    control_tokens: tuple[str, ...] | None = None
    ignore_entries: tuple[str, ...] = ()  # entries of config.json that are read as if they were not there


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the files of a checkpoint say, read without loading its weights."""

    path: str  # the folder; a string, because this record is sent to other processes
    kind: Kind
    kind_reason: str  # why it is of this kind, for the log and GET /v1/models
    architecture: str  # the first class of `architectures` in config.json, or "unknown"
    model_type: str  # `model_type` of config.json
    width: int  # numbers in a vector before any cut to `dimensions`
    max_tokens: int  # the longest input in tokens, special tokens and prompts included
    table_rows: int  # rows of the token table: each id must be below this
    head_rows: int  # token logits that the head gives; 0 without a token head
    pooling: Pooling
    matryoshka: bool | tuple[int, ...]  # whether vectors may be cut to any `dimensions`, or to which
    layer_norm_before_dimensions: bool  # whether a layer norm comes before that cut (nomic-embed-text-v1.5)
    # Why only sentence-transformers' own modules run it; None if other backends do. If set, `pooling` has no meaning.
    library_modules: str | None = None
    no_yes: tuple[int, int] | None = None  # token ids of "no" and "yes", for `score`
    classifier: bool = False  # `score` is the logit of a classification head with one label; there are no token logits
    quantization: str = ""  # how the stored weights are quantised; they are read as plain ones. "" if they are plain
    # The id that ends the first text of a pair: later tokens have type 1. None if the network has no token types.
    separator: int | None = None


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """How a loaded checkpoint is run."""

    backend: str
    reason: str
    device: str
    dtype: str
    parameters: int
    shares_prefixes: bool = False  # whether a prefix that items of a batch have in common is computed once
    splits_texts: bool = False  # whether the pass of one text can be computed in several batches (Item.split)
    layout: BatchLayout = "packed"
    layout_reason: str = ""
    fused: bool = False  # whether the layers run on kernels of our own, which take a sixth of the launches
    fused_reason: str = ""


class Pending(Protocol):
    """A batch that was launched on a device. Belongs to the thread that launched it."""

    def done(self) -> bool:
        """Whether rows() would return without waiting.

        Raises: DeviceLost: as rows() does.
        """
        ...

    def rows(self) -> list[Row]:
        """Wait for the batch and return one row an item, in item order, float32, all of them finite.

        Raises:
            OutOfMemory: the batch did not fit; a smaller one may.
            NonFinite: some rows hold NaN or Inf even when run again; the others come with the error.
            DeviceLost: the device answers no more; nothing further can be launched on it.
        """
        ...


class Backend(Protocol):
    """One way to run one checkpoint. launch() and rows() belong to one thread."""

    @property
    def info(self) -> BackendInfo:
        """How this checkpoint is run."""
        ...

    def launch(self, items: Sequence[Item], *, keep_prefix: bool = False) -> Pending:
        """Start one batch; items must be at least one and fit the model (ModelInfo.max_tokens, table_rows).

        `keep_prefix`: some of the requests in it have further items, which will come with one of the next batches: what
        their items share is worth keeping until then, and no longer.
        """
        ...


class ModelError(Exception):
    """A checkpoint cannot be loaded with these options. The message is for the operator."""


class OutOfMemory(Exception):
    """A batch needs more memory than the device has free."""


class NonFinite(Exception):
    """Some rows of a batch hold NaN or Inf. `rows` holds every row of the batch, good and bad."""

    def __init__(self, indexes: tuple[int, ...], rows: list[Row]) -> None:
        super().__init__(f"non-finite values in rows: {list(indexes)}")
        self.indexes = indexes
        self.rows = rows


class DeviceLost(Exception):
    """The device failed in a way that only a new process can cure."""
