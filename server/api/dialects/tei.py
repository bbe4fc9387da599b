"""The routes of text-embeddings-inference: bare arrays, flat errors. Statuses are ours: 400 where TEI uses 422, 424."""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import WithJsonSchema

from server import serialization
from server.api import openapi
from server.api.dialects.parsing import (
    Fields,
    WireBool,
    WireInt,
    WireSide,
    WireTruncate,
    ignored_fields,
    names_as_sent,
    parse,
    read_input,
    rename,
    truncation_of,
)
from server.api.dialects.protocol import (
    OPENAI_ERROR,
    ParsedEmbedding,
    ParsedRerank,
    Reply,
    hearth_headers,
    rerank_headers,
)
from server.api.dialects.rerank import (
    RawScoreFields,
    RerankBody,
    read_rerank_fields,
    rerank_request,
    wants_raw_scores,
)
from server.api.fields.output_forms import WireOutputDtype
from server.api.fields.spellings import aliases_of
from server.errors import ApiError, EmptyArray
from server.observability.trace import Trace
from server.processing.requests import EmbeddingRequest, EmbeddingResult, RerankResult, TokenIds
from server.serialization import JsonObject

# TEI's names (core/src/infer.rs, ErrorType), by our statuses.
ERROR_TYPES = {429: "Overloaded", 500: "Backend", 503: "Unhealthy", 504: "Backend"}
# Before the body is read, nothing tells a TEI client from an OpenAI client on the paths that they share.
TEI_ERROR = openapi.ErrorShape(
    "TEI", openapi.closed_object(error=openapi.STRING, error_type=openapi.STRING), OPENAI_ERROR.schema
)
_SIDE = "truncation_direction"
TEI_RERANK_RESPONSE = openapi.array(
    openapi.closed_object({"text": openapi.STRING}, index=openapi.INTEGER, score=openapi.NUMBER)
)
_INPUTS = openapi.any_of(openapi.STRING, openapi.TEXT_LIST, openapi.TOKEN_IDS, openapi.TOKEN_ID_LISTS)

TEI_EMBED_EXAMPLE: JsonObject = {"inputs": ["The food was delicious.", "The waiter was friendly."], "truncate": True}
TEI_RERANK_EXAMPLE: JsonObject = {
    "query": "What is the capital of France?",
    "texts": ["Bread is made of flour.", "Paris is the capital of France."],
}


class TeiEmbedBody(Fields):
    """A request to /embed."""

    operation = "embeddings"

    inputs: Annotated[Any, WithJsonSchema(_INPUTS)]
    """A string, a list of strings, a list of token ids, or a list of lists of token ids."""
    model: str | None = None
    """A served embedder. Default: the first. TEI serves a single model and has no such field."""
    truncate: WireTruncate | None = None
    """Truncate inputs that are too long instead of rejecting them. Default: the model's configuration."""
    truncation_direction: WireSide | None = None
    """The end of the input from which tokens are removed. Default: right."""
    prompt_name: str | None = None
    """One of the model's named prompts, to put before each text."""
    normalize: WireBool = True
    """Scale vectors to length 1."""
    dimensions: WireInt | None = None
    """Truncate each vector to this many dimensions before normalisation."""
    output_dtype: WireOutputDtype | None = None
    """The numbers of the vectors, a field that TEI does not have. Default: float32. binary and ubinary hold eight
    dimensions in a byte, the first one in the highest bit."""


TEI_EMBED_ALIASES = aliases_of(TeiEmbedBody.model_fields, TeiEmbedBody.operation)


class TeiRerankBody(RerankBody, RawScoreFields):
    """A rerank request with `texts`."""

    texts: list[str]
    """The texts to score."""
    documents: None = None
    return_text: WireBool = False
    """Whether results include their texts."""
    return_documents: WireBool = False
    """The same as `return_text`."""


class TEI:
    """/embed, and the rerank format that OpenAI's paths accept too (rerank_format() in openai.py)."""

    embeddings_paths: tuple[str, ...] = ("/embed",)
    error_shape = TEI_ERROR

    def document_embeddings(self) -> JsonObject:
        return openapi.operation(
            "Vectors, in TEI's format",
            "Other APIs",
            self.error_shape,
            openapi.array(openapi.array(openapi.NUMBER)),
            body=openapi.body_schema(TeiEmbedBody, TEI_EMBED_ALIASES),
            examples={"two texts": TEI_EMBED_EXAMPLE},
            headers=openapi.EMBEDDING_HEADERS,
        )

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        if isinstance(body.get("parameters"), dict):
            # Where Hugging Face's pipelines have them.
            parameters = {name: value for name, value in body.pop("parameters").items() if value is not None}
            body = parameters | body
        as_sent, body = names_as_sent(body, TEI_EMBED_ALIASES), rename(body, TEI_EMBED_ALIASES)
        fields = parse(TeiEmbedBody, body, as_sent)
        request = EmbeddingRequest(
            model=fields.model,
            input=read_input(fields.inputs, field="inputs"),
            dimensions=fields.dimensions,
            normalize=fields.normalize,
            return_logits=None,
            prompt_name=fields.prompt_name,
            prompt_template=None,
            cut=truncation_of(fields.truncate, fields.truncation_direction, as_sent.get(_SIDE, _SIDE)),
            encoding_format="float",
            dimensions_field=as_sent.get("dimensions", "dimensions"),
            output_dtypes=(fields.output_dtype or "float32",),
            dtype_field=as_sent.get("output_dtype", "output_dtype"),
        )
        ignored = ignored_fields(body, TeiEmbedBody)
        if fields.prompt_name is not None and isinstance(request.input, TokenIds):
            ignored.append("prompt_name")
        return ParsedEmbedding(request, ignored)

    def write_embeddings(self, parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """A list of vectors, even for a single input."""
        ignored = [*parsed.ignored, *result.ignored]
        headers = hearth_headers(ignored, result.truncated, token_ids=result.token_ids, space=result.space)
        (dtype,) = parsed.request.output_dtypes
        return Reply(serialization.dump(serialization.items(result.in_form(dtype), "float")), headers)

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        # TEI has no top_n, but LiteLLM sends it; 0 means all.
        fields = read_rerank_fields(TeiRerankBody, body)
        texts, top_n = fields.body.texts, fields.body.top_n or None
        raw_scores = wants_raw_scores(fields.body, fields.as_sent)
        request = rerank_request(fields, texts, top_n, raw_scores=raw_scores, texts_field="texts")
        if fields.body.truncate is False:
            # TEI's clients send false unasked, and texts are cut as on every rerank route (docs/decisions.md, 11).
            request = replace(request, cut=replace(request.cut, allowed=None))
        return_texts = fields.body.return_text or fields.body.return_documents
        return ParsedRerank(request, fields.ignored, texts, return_texts)

    def write_rerank(self, parsed: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """A bare array, best first."""
        rows = [{"index": index, "score": result.scores[index]} for index in result.order]
        if parsed.return_documents:
            rows = [{"text": parsed.documents[row["index"]], **row} for row in rows]
        headers = rerank_headers(parsed, result)
        return Reply(serialization.dump(rows), headers)

    def write_error(self, error: ApiError) -> bytes:
        error_type = "Empty" if isinstance(error, EmptyArray) else ERROR_TYPES.get(error.status, "Validation")
        return serialization.dump({"error": error.message, "error_type": error_type})
