"""Parsed requests, independent of the API format, and their results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import OutputDtype, Quantized, Side
from server.serialization import EncodingFormat

# How an error names an input, by its index: `input` or `inputs[3]`.
Label = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Texts:
    """Inputs as text. `field` is the client's name for them, `is_list` whether a list was sent."""

    values: tuple[str, ...]
    is_list: bool
    field: str = "input"


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Inputs as token ids, not checked against a vocabulary; `[1, 2]` is one input, `[[1, 2]]` a list of one."""

    values: tuple[NDArray[np.int64], ...]
    is_list: bool
    field: str = "input"


@dataclass(frozen=True, slots=True)
class TemplateVariables:
    """Inputs as the variables of a prompt_template."""

    values: tuple[dict[str, Any], ...]
    is_list: bool
    field: str = "input"


# A message of a conversation: its `role` and its text, `content`.
ChatMessage = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Chats:
    """Inputs as conversations, for the model's chat template, with the template's variables."""

    values: tuple[tuple[ChatMessage, ...], ...]
    variables: Mapping[str, Any]
    # Whether the tokenizer's special tokens go around the rendered conversation. vLLM's default is that they do not.
    add_special_tokens: bool
    is_list: bool
    field: str = "messages"


Inputs = Texts | TokenIds | TemplateVariables | Chats


def label_of(inputs: Inputs) -> Label:
    """`input[3]` where the client sent a list, else `input`."""
    return lambda index: f"{inputs.field}[{index}]" if inputs.is_list else inputs.field


@dataclass(frozen=True, slots=True)
class Truncation:
    """Whether and how an input that is too long is cut. None: as the model is configured, to the model's maximum."""

    allowed: bool | None = None
    max_tokens: int | None = None
    side: Side = "right"


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A request for vectors, or for token logits if `return_logits` is set."""

    model: str | None
    input: Inputs
    dimensions: int | None
    normalize: bool
    return_logits: tuple[int, ...] | None
    # None: the model's configured prompt; "": no prompt.
    prompt_name: str | None
    prompt_template: str | None
    cut: Truncation
    encoding_format: EncodingFormat
    # The client's name for the prompt. Unless it is prompt_name, a model without such a prompt gets the text alone.
    prompt_field: str = "prompt_name"
    # The client's name for the dimensions, for errors.
    dimensions_field: str = "dimensions"
    # The forms in which the vectors are given out, and the client's name for them.
    output_dtypes: tuple[OutputDtype, ...] = ("float32",)
    dtype_field: str = "output_dtype"


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query for all documents, or one query for each."""

    model: str | None
    queries: tuple[str, ...]
    documents: tuple[str, ...]
    top_n: int | None
    task: str | None
    raw_scores: bool
    max_tokens_per_doc: int | None
    truncate_prompt_tokens: int | None
    # How documents that are too long are cut; None allows it.
    cut: Truncation = Truncation()
    # The client's names for the documents and the query, for errors.
    field: str = "documents"
    query_field: str = "query"
    # The fields in which an instruction was sent; reported as ignored by models whose prompt has no instruction.
    task_names: tuple[str, ...] = ()

    @property
    def may_cut(self) -> bool:
        """Whether a document that is too long is cut; a limit on tokens asks for that."""
        return self.cut.allowed is not False or bool(self.max_tokens_per_doc or self.truncate_prompt_tokens)


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """One row for each input: [inputs, width] float32, finite, in input order."""

    model: str
    rows: NDArray[np.float32]
    prompt_tokens: int
    truncated: int = 0
    framed: int | None = None
    token_ids: str | None = None
    ignored: tuple[str, ...] = ()
    # The same vectors in each other form that was requested.
    quantized: Mapping[OutputDtype, Quantized] = field(default_factory=dict)
    # Where the vectors lie, one name for each form; None if that is not known yet, and of logits.
    space: str | None = None

    def in_form(self, dtype: OutputDtype) -> Quantized:
        """The rows in a form that was requested: [inputs, width], or bits packed as models.quantize() does."""
        return self.rows if dtype == "float32" else self.quantized[dtype]


@dataclass(frozen=True, slots=True)
class RerankResult:
    """The indexes of the best documents, best first, and the scores of all: [documents] float32, in request order."""

    model: str
    order: tuple[int, ...]
    scores: NDArray[np.float32]
    prompt_tokens: int
    warnings: tuple[str, ...] = field(default=())
    ignored: tuple[str, ...] = ()
    # How an embedder scored: "cosine"; None for a reranker.
    method: str | None = None
