"""text-embeddings-inference's own routes: bare arrays, flat errors. Statuses stay ours: 400, not its 422 or 424."""

from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from server import serialization as wire
from server.api import openapi
from server.api import openapi as schemas
from server.api.dialects.parsing import Fields, JsonObject, WireBool, WireInt, ignored, parse, read_input
from server.api.dialects.protocol import ParsedEmbedding, ParsedRerank, Reply, RerankDialect, notes
from server.api.dialects.rerank import NAMES, SILENT, RerankBody, make_call, spelling_of, task_names, with_one_task
from server.api.openapi import operation
from server.errors import ApiError, EmptyArray, MissingParameter
from server.observability.trace import Trace
from server.processing.requests import EmbeddingRequest, EmbeddingResult, RerankResult, TokenIds, Truncation

# TEI's own names (core/src/infer.rs, ErrorType), by our statuses.
ERROR_TYPES = {429: "Overloaded", 500: "Backend", 503: "Unhealthy", 504: "Backend"}


_TEXTS = schemas.array(schemas.STRING, 1)
_IDS = schemas.array({"type": "integer", "minimum": 0}, 1)
INPUTS = schemas.either(schemas.STRING, _TEXTS, _IDS, schemas.array(_IDS, 1))


class EmbedBody(Fields):
    """A request to /embed."""

    inputs: Annotated[Any, WithJsonSchema(INPUTS)]
    """A string, a list of strings, a list of token ids, or a list of such lists."""
    model: str | None = None
    """A served embedder; TEI serves one and has no such field."""
    truncate: WireBool | None = None
    """Cut an input that is too long instead of refusing it; by default as the model is configured."""
    truncation_direction: Literal["left", "right"] = "right"
    """Which end is cut."""
    prompt_name: str | None = None
    """One of the model's named prompts, put before each text."""
    normalize: WireBool = True
    """Scale vectors to length 1."""
    dimensions: WireInt | None = None
    """Cut each vector to so many numbers, before it is normalised."""


class TextsBody(RerankBody):
    """A request to /rerank with `texts`."""

    texts: list[str]
    """What is scored."""
    documents: None = None
    raw_scores: WireBool = False
    """Return log-odds instead of probabilities."""
    return_text: WireBool = False
    """Whether results carry their texts."""


class TEI:
    """/embed, and /rerank with `texts`."""

    embeddings_paths: tuple[str, ...] = ("/embed",)
    rerank_paths: tuple[str, ...] = ()

    def document_embeddings(self) -> JsonObject:
        """The OpenAPI operation."""
        return operation(
            "Vectors, in the shape of TEI",
            "Neighbours",
            openapi.TEI_ERROR,
            schemas.array(schemas.array(schemas.NUMBER)),
            takes=openapi.body(EmbedBody),
            headers=openapi.EMBEDDING_NOTES,
        )

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        """Unit vectors unless asked otherwise."""
        if "inputs" not in body:
            raise MissingParameter("inputs")
        if isinstance(body.get("truncation_direction"), str):
            body["truncation_direction"] = body["truncation_direction"].lower()
        fields = parse(EmbedBody, body)
        call = EmbeddingRequest(
            model=fields.model,
            input=read_input(fields.inputs, field="inputs"),
            dimensions=fields.dimensions,
            normalize=fields.normalize,
            return_logits=None,
            prompt_name=fields.prompt_name,
            prompt_template=None,
            cut=Truncation(fields.truncate, None, fields.truncation_direction),
            encoding_format="float",
        )
        names = ignored(body, EmbedBody)
        if fields.prompt_name is not None and isinstance(call.input, TokenIds):
            names.append("prompt_name")
        return ParsedEmbedding(call, names)

    def write_embeddings(self, asked: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """Always a list of vectors, also for one input."""
        headers = notes(asked.ignored, result.truncated, token_ids=result.token_ids)
        return Reply(wire.dump(wire.items(result.rows, "float")), headers)

    def document_rerank(self) -> JsonObject:
        """The OpenAPI operation."""
        return operation(
            "Scores, in the shape of TEI",
            "Neighbours",
            openapi.TEI_ERROR,
            schemas.TEI_RERANK,
            takes=openapi.body(TextsBody, NAMES),
            headers=openapi.NOTES,
        )

    def rerank_dialect(self, body: JsonObject) -> RerankDialect:
        """TEI's own."""
        return self

    def parse_rerank(self, body: JsonObject) -> ParsedRerank:
        """`top_n` is not TEI's, and LiteLLM sends it."""
        tasks, spelt, body = task_names(body), spelling_of(body), with_one_task(body)
        fields = parse(TextsBody, body, spelt)
        best, raw = fields.top_n or None, fields.raw_scores
        call = make_call(fields, fields.texts, best, raw_scores=raw, field="texts", tasks=tasks, spelt=spelt)
        silent = ("truncate", "truncation_direction", *SILENT)
        return ParsedRerank(call, ignored(body, TextsBody, silent), fields.texts, fields.return_text)

    def write_rerank(self, asked: ParsedRerank, result: RerankResult, trace: Trace) -> Reply:
        """A bare array, best first."""
        rows = [{"index": index, "score": result.scores[index]} for index in result.order]
        if asked.return_documents:
            rows = [{"text": asked.documents[row["index"]], **row} for row in rows]
        return Reply(wire.dump(rows), notes([*asked.ignored, *result.ignored], len(result.warnings)))

    def write_error(self, error: ApiError) -> bytes:
        """`error` is the message itself."""
        kind = "Empty" if isinstance(error, EmptyArray) else ERROR_TYPES.get(error.status, "Validation")
        return wire.dump({"error": error.message, "error_type": kind})
