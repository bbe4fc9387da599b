"""Text-embeddings-inference's /similarity, and its root: a server of one model does that model's task at POST /."""

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import WithJsonSchema

from server import serialization
from server.api import openapi
from server.api.dialects.parsing import Fields, ignored_fields, parse, read_input
from server.api.dialects.protocol import ParsedEmbedding, Reply, hearth_headers
from server.api.dialects.rerank import RERANK_ALIASES
from server.api.dialects.tei import (
    TEI,
    TEI_EMBED_ALIASES,
    TEI_EMBED_EXAMPLE,
    TEI_ERROR,
    TEI_RERANK_EXAMPLE,
    TEI_RERANK_RESPONSE,
    TeiEmbedBody,
    TeiRerankBody,
)
from server.errors import InvalidValue, MissingParameter
from server.observability.trace import Trace
from server.processing.requests import EmbeddingResult, Texts
from server.serialization import JsonObject

ROOT_PATHS = ("/", "/invocations")
_SENTENCES = openapi.closed_object(source_sentence=openapi.STRING, sentences=openapi.TEXT_LIST)
_VECTORS = openapi.array(openapi.array(openapi.NUMBER))
_SCORES = openapi.array(openapi.NUMBER)
_EXAMPLE: JsonObject = {
    "inputs": {"source_sentence": "The cat sleeps.", "sentences": ["A cat is asleep.", "It rains today."]}
}


class SimilarityBody(Fields):
    """A request to /similarity."""

    operation = "embeddings"

    inputs: Annotated[Any, WithJsonSchema(_SENTENCES)]
    """A text as `source_sentence`, and a list of texts as `sentences`."""
    parameters: Annotated[dict[str, Any] | None, WithJsonSchema(openapi.OBJECT)] = None
    """Fields as in a request to /embed, such as `truncate`, `prompt_name` and `dimensions`."""
    model: str | None = None
    """A served embedder. Default: the first."""


class Similarity(TEI):
    """/similarity: the cosine of one text's vector with that of each other text."""

    embeddings_paths: tuple[str, ...] = ("/similarity",)

    def document_embeddings(self) -> JsonObject:
        return openapi.operation(
            "Similarity of a text to other texts, in TEI's format",
            "Other APIs",
            self.error_shape,
            _SCORES,
            body=openapi.body_schema(SimilarityBody),
            examples={"two sentences": _EXAMPLE},
            headers=openapi.RERANK_HEADERS,
        )

    def parse_embeddings(self, body: JsonObject) -> ParsedEmbedding:
        """The source comes last, so that errors name a sentence by its index in the request."""
        fields = parse(SimilarityBody, body)
        source, sentences = _sentences(fields.inputs)
        sent = {name: value for name, value in (fields.parameters or {}).items() if value is not None}
        embed = super().parse_embeddings({**sent, "model": fields.model, "inputs": [*sentences, source]})
        (dtype,) = embed.request.output_dtypes
        if dtype != "float32":
            raise InvalidValue(f"parameters.{embed.request.dtype_field}", "scores are those of float32; leave it out.")
        texts = Texts((*sentences, source), is_list=True, field="inputs.sentences")
        unknown = [f"parameters.{name}" for name in embed.ignored]
        # A cosine is the same for vectors of any length.
        request = replace(embed.request, input=texts, normalize=True)
        return ParsedEmbedding(request, [*ignored_fields(body, SimilarityBody), *unknown])

    def write_embeddings(self, parsed: ParsedEmbedding, result: EmbeddingResult, trace: Trace) -> Reply:
        """One number for each sentence."""
        # The vectors have length 1; rounding may lead a little further.
        cosines = np.clip(result.rows[:-1] @ result.rows[-1], -1, 1)
        return Reply(serialization.dump(cosines), hearth_headers(parsed.ignored, result.truncated))


def is_rerank(body: JsonObject) -> bool:
    """Whether a body that was sent to the root is for a reranker."""
    return "texts" in body or "query" in body


def is_similarity(body: JsonObject) -> bool:
    """Whether a body that was sent to the root is for /similarity, as Hugging Face's clients send it."""
    return isinstance(body.get("inputs"), dict)


def document_root() -> JsonObject:
    """The OpenAPI operation of POST /."""
    return openapi.operation(
        "The task of the body, in TEI's format: that of /embed, of /rerank with `texts`, or of /similarity",
        "Other APIs",
        TEI_ERROR,
        openapi.any_of(_VECTORS, TEI_RERANK_RESPONSE, _SCORES),
        body=openapi.any_of(
            openapi.body_schema(TeiEmbedBody, TEI_EMBED_ALIASES),
            openapi.body_schema(TeiRerankBody, RERANK_ALIASES),
            openapi.body_schema(SimilarityBody),
        ),
        examples={"embed": TEI_EMBED_EXAMPLE, "rerank": TEI_RERANK_EXAMPLE, "similarity": _EXAMPLE},
        headers=(*openapi.EMBEDDING_HEADERS, "X-Hearth-Rerank"),
    )


def _sentences(inputs: Any) -> tuple[str, list[str]]:
    if not isinstance(inputs, dict):
        raise InvalidValue("inputs", "expected an object with 'source_sentence' and 'sentences'.")
    source, sentences = inputs.get("source_sentence"), inputs.get("sentences")
    for name, value in (("source_sentence", source), ("sentences", sentences)):
        if value is None:
            raise MissingParameter(f"inputs.{name}")
    if not isinstance(source, str):
        raise InvalidValue("inputs.source_sentence", "expected a string.")
    texts = read_input(sentences, field="inputs.sentences")
    if not isinstance(texts, Texts) or not texts.is_list:
        raise InvalidValue("inputs.sentences", "expected a list of strings.")
    return source, list(texts.values)
