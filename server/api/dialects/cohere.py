"""Cohere's /v1/embed and /v2/embed. Its rerank routes have the OpenAI dialect's format."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from server import serialization
from server.api import openapi
from server.api.dialects.parsing import (
    Fields,
    Listed,
    WireInt,
    WireTruncate,
    ignored_fields,
    names_as_sent,
    parse,
    prompt_for,
    read_input,
    rename,
    truncation_of,
)
from server.api.dialects.protocol import OPENAI_ERROR, ParsedEmbedding, Reply, hearth_headers, write_openai_error
from server.api.fields.output_forms import CohereWord, WireOutputDtype, dtype_of_word
from server.api.fields.spellings import aliases_of
from server.errors import ApiError, InvalidValue, MissingParameter
from server.observability.trace import Trace
from server.processing.requests import EmbeddingRequest, EmbeddingResult, Truncation
from server.serialization import JsonObject

# Fields of other servers that have no effect here and do no harm.
_SILENT_FIELDS = ("user",)
_PART = openapi.closed_object(type={"const": "text"}, text=openapi.STRING) | {"additionalProperties": True}
_INPUT = openapi.closed_object(content=openapi.array(_PART, 1)) | {"additionalProperties": True}
_EMBEDDINGS_BY_TYPE = openapi.closed_object(
    id=openapi.STRING,
    response_type=openapi.STRING,
    embeddings=openapi.closed_object(
        dict.fromkeys(("float", "float16"), openapi.array(openapi.array(openapi.NUMBER)))
        | dict.fromkeys(("int8", "uint8", "binary", "ubinary"), openapi.array(openapi.array(openapi.INTEGER)))
        | {"base64": openapi.array(openapi.STRING)}
    ),
    texts=openapi.array(openapi.STRING),
    meta=openapi.OBJECT,
)
_EMBEDDINGS_FLOATS = openapi.closed_object(
    id=openapi.STRING,
    response_type=openapi.STRING,
    embeddings=openapi.array(openapi.array(openapi.NUMBER)),
    texts=openapi.array(openapi.STRING),
    meta=openapi.OBJECT,
)

_EXAMPLE: JsonObject = {
    "texts": ["The food was delicious.", "The waiter was friendly."],
    "input_type": "search_document",
    "embedding_types": ["float"],
}


class CohereEmbedBody(Fields):
    """A request to /v1/embed or /v2/embed."""

    operation = "embeddings"

    texts: Annotated[list[str] | None, WithJsonSchema(openapi.TEXT_LIST)] = None
    """The texts to embed."""
    inputs: Annotated[list[Any] | None, WithJsonSchema(openapi.array(_INPUT, 1))] = None
    """The same as objects: `{"content": [{"type": "text", "text": "..."}]}`."""
    model: str | None = None
    """A served embedder. Default: the first."""
    input_type: Literal["search_query", "search_document", "classification", "clustering"] | None = None
    """search_query and search_document put the model's `query` and `document` prompts before each text."""
    embedding_types: Annotated[list[CohereWord] | None, Listed] = None
    """One or more forms of the vectors; base64 is that of float32. Default: float, which /v1/embed then returns as a
    bare list. binary and ubinary hold eight dimensions in a byte, the first one in the highest bit."""
    output_dtype: WireOutputDtype | None = None
    """Voyage's and Mistral's, for `embedding_types` of one form."""
    output_dimension: WireInt | None = None
    """Truncate each vector to this many dimensions before normalisation."""
    max_tokens: WireInt | None = None
    """Truncate each text to this many tokens."""
    truncate: WireTruncate | None = None
    """The end at which a text that is too long is truncated; NONE rejects it. Default: the model's configuration."""


COHERE_ALIASES = aliases_of(CohereEmbedBody.model_fields, CohereEmbedBody.operation)


class Cohere:
    """/v2/embed: vectors by encoding."""

    embeddings_paths: tuple[str, ...] = ("/v2/embed",)
    error_shape = OPENAI_ERROR
    response_schema = _EMBEDDINGS_BY_TYPE
    version = "2"

    def document_embeddings(self) -> JsonObject:
        either_field = openapi.any_of({"required": ["texts"]}, {"required": ["inputs"]})
        return openapi.operation(
            "Vectors, in Cohere's format",
            "Other APIs",
            self.error_shape,
            self.response_schema,
            body=openapi.body_schema(CohereEmbedBody, COHERE_ALIASES) | either_field,
            examples={"two texts": _EXAMPLE},
            headers=(*openapi.RERANK_HEADERS, "X-Hearth-Space"),
        )

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        as_sent, body = names_as_sent(body, COHERE_ALIASES), rename(body, COHERE_ALIASES)
        fields = parse(CohereEmbedBody, body, as_sent)
        if fields.texts is not None and fields.inputs is not None:
            raise InvalidValue("inputs", "send either 'texts' or 'inputs', not both.")
        texts = fields.texts if fields.texts is not None else _texts_of(fields.inputs)
        types = _embedding_types(fields, as_sent)
        request = EmbeddingRequest(
            model=fields.model,
            input=read_input(texts, field="texts" if fields.texts is not None else "inputs"),
            dimensions=fields.output_dimension,
            # Cohere's vectors have length 1.
            normalize=True,
            return_logits=None,
            prompt_name=prompt_for(fields.input_type) if fields.input_type else None,
            prompt_template=None,
            cut=_truncation(fields),
            encoding_format="float",
            prompt_field="input_type",
            dimensions_field=as_sent.get("output_dimension", "output_dimension"),
            output_dtypes=tuple(dict.fromkeys(dtype_of_word(word) for word in types or ("float",))),
            dtype_field=_types_field(fields, as_sent),
        )
        ignored = ignored_fields(body, CohereEmbedBody, _SILENT_FIELDS)
        return ParsedEmbedding(request, ignored, embedding_types=types)

    def write_embeddings(self, parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """An object with one list for each requested encoding."""
        by_type = {
            word: serialization.items(result.in_form(dtype_of_word(word)), "base64" if word == "base64" else "float")
            for word in dict.fromkeys(parsed.embedding_types or ["float"])
        }
        return self._reply("embeddings_by_type", by_type, parsed, result, trace)

    def write_error(self, error: ApiError) -> bytes:
        return write_openai_error(error)

    def _reply(
        self, response_type: str, embeddings: object, parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace
    ) -> Reply:
        response = {
            "id": trace.request_id,
            "response_type": response_type,
            "embeddings": embeddings,
            "texts": parsed.request.input.values,
            "meta": {"api_version": {"version": self.version}, "billed_units": {"input_tokens": result.prompt_tokens}},
        }
        return Reply(serialization.dump(response), hearth_headers(parsed.ignored, result.truncated, space=result.space))


class CohereV1(Cohere):
    """/v1/embed: a bare list of vectors, unless the request has embedding_types."""

    embeddings_paths: tuple[str, ...] = ("/v1/embed",)
    response_schema = openapi.any_of(_EMBEDDINGS_FLOATS, _EMBEDDINGS_BY_TYPE)
    version = "1"

    def write_embeddings(self, parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """Either form; the SDKs tell them apart by `response_type`."""
        if parsed.embedding_types:
            return super().write_embeddings(parsed, result, trace)
        return self._reply("embeddings_floats", serialization.items(result.rows, "float"), parsed, result, trace)


def _texts_of(inputs: list[Any] | None) -> list[str]:
    if inputs is None:
        raise MissingParameter("texts")
    return [_text_of(item, f"inputs[{index}]") for index, item in enumerate(inputs)]


def _text_of(item: Any, where: str) -> str:
    content = item.get("content") if isinstance(item, dict) else None
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if not texts or len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise InvalidValue(where, "expected 'content' with parts of type 'text'; images are not supported.")
    return "\n".join(str(text) for text in texts)


def _embedding_types(fields: CohereEmbedBody, as_sent: Mapping[str, str]) -> list[str] | None:
    if fields.output_dtype is None:
        return list(fields.embedding_types) if fields.embedding_types is not None else None
    if fields.embedding_types:
        name = as_sent.get("output_dtype", "output_dtype")
        raise InvalidValue(name, f"send either '{name}' or 'embedding_types', not both.")
    return ["float" if fields.output_dtype == "float32" else fields.output_dtype]


def _types_field(fields: CohereEmbedBody, as_sent: Mapping[str, str]) -> str:
    name = "embedding_types" if fields.output_dtype is None else "output_dtype"
    return as_sent.get(name, name)


def _truncation(fields: CohereEmbedBody) -> Truncation:
    if fields.max_tokens is not None and fields.max_tokens < 1:
        raise InvalidValue("max_tokens", f"expected an integer ≥ 1; got {fields.max_tokens}.")
    return truncation_of(fields.truncate, None, max_tokens=fields.max_tokens)
