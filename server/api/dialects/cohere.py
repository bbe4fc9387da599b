"""Cohere's /v1/embed and /v2/embed. Its /v1/rerank and /v2/rerank are the OpenAI door's superset."""

from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from server import serialization as wire
from server.api import openapi
from server.api import openapi as schemas
from server.api.dialects.openai import OpenAI
from server.api.dialects.parsing import Fields, JsonObject, WireInt, ignored, parse, read_input
from server.api.dialects.protocol import ParsedEmbedding, Reply, notes
from server.api.openapi import operation
from server.errors import ApiError, InvalidValue, MissingParameter
from server.observability.trace import Trace
from server.processing.requests import EmbeddingRequest, EmbeddingResult, Truncation

SILENT = ("priority", "user")
_PART = schemas.listed(type={"const": "text"}, text=schemas.STRING) | {"additionalProperties": True}
_INPUT = schemas.listed(content=schemas.array(_PART, 1)) | {"additionalProperties": True}
TEXTS, INPUTS = schemas.array(schemas.STRING, 1), schemas.array(_INPUT, 1)


class EmbedBody(Fields):
    """A request to either."""

    texts: Annotated[list[str] | None, WithJsonSchema(TEXTS)] = None
    """What to embed."""
    inputs: Annotated[list[Any] | None, WithJsonSchema(INPUTS)] = None
    """The same as objects: `{"content": [{"type": "text", "text": "..."}]}`."""
    model: str | None = None
    """A served embedder; by default the first."""
    input_type: Literal["search_query", "search_document", "classification", "clustering"] | None = None
    """search_query and search_document put the model's prompts `query` and `document` before each text."""
    embedding_types: list[Literal["float", "base64"]] | None = None
    """How vectors are written; several at once are allowed. On /v1/embed, without it, they come as a bare list."""
    output_dimension: WireInt | None = None
    """Cut each vector to so many numbers, before it is normalised."""
    max_tokens: WireInt | None = None
    """Cut each text to so many tokens."""
    truncate: Literal["NONE", "START", "END"] | None = None
    """Which end of a text that is too long is cut; NONE refuses it. By default as the model is configured."""


class Cohere:
    """/v2/embed: vectors by the type in which they are written."""

    # Its SDKs append v2/embed to a base that users end in /v1.
    embeddings_paths: tuple[str, ...] = ("/v2/embed", "/v1/v2/embed")
    answer_shape = schemas.EMBEDDINGS_BY_TYPE
    version = "2"

    def document_embeddings(self) -> JsonObject:
        """The OpenAPI operation."""
        return operation(
            "Vectors, in the shape of Cohere",
            "Neighbours",
            openapi.OPENAI_ERROR,
            self.answer_shape,
            takes=openapi.body(EmbedBody) | schemas.either({"required": ["texts"]}, {"required": ["inputs"]}),
            headers=openapi.NOTES,
        )

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        """Unit vectors, as Cohere's are."""
        fields = parse(EmbedBody, body)
        if fields.texts is not None and fields.inputs is not None:
            raise InvalidValue("inputs", "send either 'texts' or 'inputs', not both.")
        texts = fields.texts if fields.texts is not None else _texts_of(fields.inputs)
        call = EmbeddingRequest(
            model=fields.model,
            input=read_input(texts, field="texts" if fields.texts is not None else "inputs"),
            dimensions=fields.output_dimension,
            normalize=True,
            return_logits=None,
            prompt_name=(fields.input_type or "").removeprefix("search_") or None,
            prompt_template=None,
            cut=_cut(fields),
            encoding_format="float",
            prompt_is_optional=True,
            dimensions_field="output_dimension",
        )
        return ParsedEmbedding(call, ignored(body, EmbedBody, SILENT), echo=fields.embedding_types)

    def write_embeddings(self, asked: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """An object with a list for each type that was asked for, by default float."""
        by_type = {how: wire.items(result.rows, how) for how in dict.fromkeys(asked.echo or ["float"])}
        return self._reply("embeddings_by_type", by_type, asked, result, trace)

    def write_error(self, error: ApiError) -> bytes:
        """As the OpenAI door does: `message` at the top is what Cohere's SDKs read."""
        return OpenAI().write_error(error)

    def _reply(
        self, response_type: str, embeddings: object, asked: ParsedEmbedding, result: EmbeddingResult, trace: Trace
    ) -> Reply:
        answer = {
            "id": trace.request_id,
            "response_type": response_type,
            "embeddings": embeddings,
            "texts": asked.call.input.values,
            "meta": {"api_version": {"version": self.version}, "billed_units": {"input_tokens": result.prompt_tokens}},
        }
        return Reply(wire.dump(answer), notes(asked.ignored, result.truncated))


class CohereV1(Cohere):
    """/v1/embed: a bare list of vectors, unless the client names types."""

    embeddings_paths: tuple[str, ...] = ("/v1/embed", "/v1/v1/embed")
    answer_shape = schemas.either(schemas.EMBEDDINGS_FLOATS, schemas.EMBEDDINGS_BY_TYPE)
    version = "1"

    def write_embeddings(self, asked: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """`response_type` says which it is: the SDKs read the answer by it."""
        if asked.echo:
            return super().write_embeddings(asked, result, trace)
        return self._reply("embeddings_floats", wire.items(result.rows, "float"), asked, result, trace)


def _texts_of(inputs: list[Any] | None) -> list[str]:
    if inputs is None:
        raise MissingParameter("texts")
    return [_text_of(each, f"inputs[{index}]") for index, each in enumerate(inputs)]


def _text_of(each: Any, where: str) -> str:
    content = each.get("content") if isinstance(each, dict) else None
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    if not texts or len(texts) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise InvalidValue(where, "expected 'content' with parts of type 'text'; images are not embedded.")
    return "\n".join(str(text) for text in texts)


def _cut(fields: EmbedBody) -> Truncation:
    if fields.max_tokens is not None and fields.max_tokens < 1:
        raise InvalidValue("max_tokens", "expected an integer ≥ 1.")
    side: Literal["left", "right"] = "left" if fields.truncate == "START" else "right"
    asked = None if fields.truncate is None else fields.truncate != "NONE"
    return Truncation(asked if fields.max_tokens is None else True, fields.max_tokens, side)
