"""Fields of other servers that would change what a client reads. A route that has no such field refuses it with 400.

A field that is neither here nor on the route has no effect, and is named in X-Hearth-Ignored-Fields.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from server.api.fields.spellings import first_spelling, spellings
from server.errors import InvalidValue
from server.serialization import JsonObject, dump

Operation = Literal["embeddings", "rerank", "tokens"]

_EVERYWHERE: frozenset[Operation] = frozenset({"embeddings", "rerank", "tokens"})
_EMBEDDINGS: frozenset[Operation] = frozenset({"embeddings"})
_RERANK: frozenset[Operation] = frozenset({"rerank"})
_SHOWN_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class UnsupportedField:
    """What is supported in place of a field, as a clause for the error, and the values that ask for just that."""

    supported: str
    without_effect: tuple[Any, ...] = ()
    operations: frozenset[Operation] = _EVERYWHERE


_FLOATS = "this route gives float32 numbers"
_BASE64 = "this route writes vectors as JSON numbers; use /v1/embeddings with 'encoding_format'"
_FORMS = "this route writes vectors as JSON numbers; use 'output_dtype', or 'encoding_format' on /v1/embeddings"
_DENSE = "a vector is one dense list of numbers for each input"
TEXT_ONLY = "inputs are texts; send no other media"
# The names that Jina, Cohere, vLLM and NIM have for media within an input or a document.
_MEDIA = frozenset({"image", "images", "image_url", "video", "videos", "video_url", "audio", "audio_url", "pdf"})
_POOLING = "the pooling is the one in the model's files; convert or configure the model instead"
_NORMALIZE = (
    "this route always scales vectors to length 1, and scores to the range of the model; "
    "use 'normalize' on /v1/embeddings, or 'raw_scores' on /v1/rerank"
)
_RAW_SCORES = "scores lie in the range of the model; use 'raw_scores' on /v1/rerank"
_PROMPT = "use 'prompt_name' on /v1/embeddings, or put the prompt into the text"
_PURPOSE = "use 'prompt_name' on TEI's route and 'input_type' on Cohere's, or /v1/embeddings"

UNSUPPORTED: Mapping[str, UnsupportedField] = {
    # How numbers are written.
    "output_dtype": UnsupportedField(_FLOATS, ("float", "float32")),
    "precision": UnsupportedField(_FLOATS, ("float", "float32")),
    "embed_dtype": UnsupportedField(_FLOATS, ("float", "float32")),
    "dtype": UnsupportedField(_FLOATS, ("float", "float32"), _EMBEDDINGS),
    "quantization": UnsupportedField(_FLOATS, ("float", "float32", "none"), _EMBEDDINGS),
    "embedding_types": UnsupportedField(_FORMS, ("float", [])),
    "embedding_type": UnsupportedField(_FORMS, ("float",)),
    "encoding_format": UnsupportedField(_BASE64, ("float",)),
    "output_format": UnsupportedField("use 'encoding_format' on /v1/embeddings", ("float", "json"), _EMBEDDINGS),
    "endianness": UnsupportedField("numbers are little-endian", ("little", "native")),
    # Which numbers.
    "late_chunking": UnsupportedField("each input is embedded on its own", (False,)),
    "return_multivector": UnsupportedField(_DENSE, (False,)),
    "return_multi_vector": UnsupportedField(_DENSE, (False,)),
    "return_colbert_vecs": UnsupportedField(_DENSE, (False,)),
    "return_sparse": UnsupportedField(_DENSE, (False,)),
    "sparse": UnsupportedField(_DENSE, (False,)),
    "return_dense": UnsupportedField(_DENSE, (True,)),
    "output_type": UnsupportedField(_DENSE, ("dense",)),
    "pooling_type": UnsupportedField(_POOLING),
    "pooling": UnsupportedField(_POOLING),
    "normalize": UnsupportedField(_NORMALIZE, (True,)),
    "embd_normalize": UnsupportedField("use 'normalize': true or false on /v1/embeddings", (2,)),
    "return_logits": UnsupportedField("token logits come from /v1/embeddings"),
    # What the model reads.
    "messages": UnsupportedField("this route reads texts; send a conversation to /v1/embeddings", ([],)),
    "chat_template": UnsupportedField("the chat template is the one in the model's files", ("",)),
    "continue_final_message": UnsupportedField("the chat template ends each message", (False,)),
    "images": UnsupportedField(TEXT_ONLY, ([],)),
    "image": UnsupportedField(TEXT_ONLY, ("", [])),
    "image_url": UnsupportedField(TEXT_ONLY, ("",)),
    "videos": UnsupportedField(TEXT_ONLY, ([],)),
    "video": UnsupportedField(TEXT_ONLY, ("", [])),
    "audio": UnsupportedField(TEXT_ONLY, ("", [])),
    "modality": UnsupportedField(TEXT_ONLY, ("text",)),
    "add_special_tokens": UnsupportedField("the model's special tokens are always added to a text", (True,)),
    "prompt": UnsupportedField(_PROMPT, ("",), _EMBEDDINGS),
    "prompt_name": UnsupportedField("use 'input_type', or 'prompt_name' on /v1/embeddings", ("",), _EMBEDDINGS),
    "prompt_template": UnsupportedField("templates are for /v1/embeddings", ("",)),
    "instruction": UnsupportedField(_PROMPT, ("",), _EMBEDDINGS),
    "instruct": UnsupportedField(_PROMPT, ("",), _EMBEDDINGS),
    "input_type": UnsupportedField(_PURPOSE, ("",), _EMBEDDINGS),
    "task": UnsupportedField(_PURPOSE, ("",), _EMBEDDINGS),
    "truncate_prompt_tokens": UnsupportedField("use 'truncate', or /v1/embeddings", (), _EMBEDDINGS),
    "rank_fields": UnsupportedField("documents are strings; use /v1/rerank for objects", ("text", [])),
    # What the response holds, and when.
    "return_documents": UnsupportedField("the response has scores alone; use /v1/rerank", (False,), _RERANK),
    "raw_scores": UnsupportedField(_RAW_SCORES, (False,), _RERANK),
    "use_activation": UnsupportedField(_RAW_SCORES, (True,), _RERANK),
    "score_threshold": UnsupportedField("use 'top_n', or compare the scores in the client", (), _RERANK),
    "return_embeddings": UnsupportedField("vectors come from /v1/embeddings", (False,), _RERANK),
    "rewrite_query": UnsupportedField("the query is read as it is", (False,), _RERANK),
    "return_input": UnsupportedField("the response does not repeat the input", (False,)),
    "return_token_ids": UnsupportedField("token ids come from /tokenize", (False,)),
    "priority": UnsupportedField("requests have no priorities", (0,)),
}


def refuse_unsupported(body: JsonObject, known: Iterable[str], operation: Operation) -> None:
    """Refuse the first field of the table that the route does not know and that asks for something else.

    Raises: InvalidValue.
    """
    known = set(known)
    for name, value in body.items():
        field = UNSUPPORTED.get(name) or UNSUPPORTED.get(first_spelling(name, operation))
        if (
            field is None
            or value is None
            or name in known
            or operation not in field.operations
            or _is_without_effect(value, field)
        ):
            continue
        fix = f"Send {_choices(field)}, or leave it out." if field.without_effect else "Leave it out."
        raise InvalidValue(name, f"{_shown(value)} is not supported: {field.supported}. {fix}")


def refuse_media(item: JsonObject, where: str) -> None:
    """Refuse an object that holds an image, a video or a sound, beside a text or instead of one.

    Raises: InvalidValue.
    """
    name = next((name for name, value in item.items() if name in _MEDIA and value), None)
    if name is not None:
        raise InvalidValue(where, f"'{name}' is not supported: {TEXT_ONLY}.")


def unsupported_names(operation: Operation) -> list[str]:
    """The fields of the table that matter to an operation."""
    names = [name for name, field in UNSUPPORTED.items() if operation in field.operations]
    return [spelling for name in names for spelling in (name, *spellings(name, operation))]


def _is_without_effect(value: Any, field: UnsupportedField) -> bool:
    if isinstance(value, list) and value:
        return value in field.without_effect or all(_is_without_effect(item, field) for item in value)
    if not isinstance(value, str):
        return value in field.without_effect
    word = value.lower()
    return {"true": True, "false": False}.get(word, word) in field.without_effect


def _choices(field: UnsupportedField) -> str:
    return " or ".join(_shown(value) for value in field.without_effect)


def _shown(value: Any) -> str:
    text = dump(value).decode()
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
