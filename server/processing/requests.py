"""What was asked, free of dialect, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import Side
from server.serialization import EncodingFormat

# How an error names an input: the client's field, and the index in it.
Label = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Texts:
    """Inputs as text. `is_list` and `field` tell how an error names one: `input` or `inputs[3]`."""

    values: tuple[str, ...]
    is_list: bool
    field: str = "input"


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Inputs as token ids, not yet range-checked; `[1, 2]` is one input and `[[1, 2]]` a list of one."""

    values: tuple[NDArray[np.int64], ...]
    is_list: bool
    field: str = "input"


@dataclass(frozen=True, slots=True)
class TemplateVariables:
    """Inputs as variables of a prompt_template; `is_list` as in Texts."""

    values: tuple[dict[str, Any], ...]
    is_list: bool
    field: str = "input"


def label_of(inputs: Texts | TokenIds | TemplateVariables) -> Label:
    """`input[3]` where the client sent a list, else `input`."""
    return lambda index: f"{inputs.field}[{index}]" if inputs.is_list else inputs.field


@dataclass(frozen=True, slots=True)
class Truncation:
    """What may be done about an input that is too long; where the client did not say, as the model is configured."""

    allowed: bool | None = None
    max_tokens: int | None = None
    side: Side = "right"


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """An embeddings request, or one for logits."""

    model: str | None
    input: Texts | TokenIds | TemplateVariables
    dimensions: int | None
    normalize: bool
    return_logits: tuple[int, ...] | None
    # "" is none; None is what the model is configured to put before texts.
    prompt_name: str | None
    prompt_template: str | None
    cut: Truncation
    encoding_format: EncodingFormat
    prompt_is_optional: bool = False
    # How errors call the dimensions.
    dimensions_field: str = "dimensions"


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """A rerank request: one query for all documents, or one for each. The dialect keeps what it echoes."""

    model: str | None
    queries: tuple[str, ...]
    documents: tuple[str, ...]
    top_n: int | None
    task: str | None
    raw_scores: bool
    max_tokens_per_doc: int | None
    truncate_prompt_tokens: int | None
    # How errors call the documents and the query.
    field: str = "documents"
    query_field: str = "query"
    # Under which names an instruction was sent: not every reranker has a place for one.
    task_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """Rows for every input, [n, d] float32, finite, in input order."""

    model: str
    rows: NDArray[np.float32]
    prompt_tokens: int
    truncated: int = 0
    framed: int | None = None
    token_ids: str | None = None


@dataclass(frozen=True, slots=True)
class RerankResult:
    """Document indexes, best first, with their scores."""

    model: str
    order: tuple[int, ...]
    scores: NDArray[np.float32]
    prompt_tokens: int
    warnings: tuple[str, ...] = field(default=())
    ignored: tuple[str, ...] = ()
