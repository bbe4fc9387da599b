"""Bodies and answers of the routes that need a tokenizer and no device: TEI's and vLLM's."""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from server import openapi, schemas
from server.dialects.fields import Fields, JsonObject, WireBool

_ID: JsonObject = {"type": "integer", "minimum": 0}
_IDS = schemas.array(_ID, 1)
_NULLABLE_INTEGER: JsonObject = {"type": ["integer", "null"]}
_TEXTS = schemas.either(schemas.STRING, schemas.array(schemas.STRING, 1))

VLLM_TOKENS = schemas.listed(
    count=schemas.INTEGER,
    max_model_len=schemas.INTEGER,
    tokens=schemas.array(schemas.INTEGER),
    token_strs=schemas.either(schemas.array(schemas.STRING), schemas.NULL),
)
TEI_TOKENS = schemas.array(
    schemas.array(
        schemas.listed(
            id=schemas.INTEGER,
            text=schemas.STRING,
            special=schemas.BOOLEAN,
            start=_NULLABLE_INTEGER,
            stop=_NULLABLE_INTEGER,
        )
    )
)
INFO = schemas.listed(
    model_id=schemas.STRING,
    model_sha=schemas.NULL,
    model_dtype=schemas.STRING,
    served_model_name=schemas.STRING,
    model_type={"type": "object", "minProperties": 1, "maxProperties": 1},
    max_concurrent_requests=schemas.INTEGER,
    max_input_length=schemas.INTEGER,
    max_batch_tokens=_NULLABLE_INTEGER,
    max_batch_requests=schemas.NULL,
    max_client_batch_size=schemas.INTEGER,
    auto_truncate=schemas.BOOLEAN,
    tokenization_workers=schemas.INTEGER,
    version=schemas.STRING,
    sha=schemas.NULL,
    docker_label=schemas.NULL,
)
MODEL: JsonObject = {
    "name": "model",
    "in": "query",
    "description": "A served model; by default the first embedder, or the first of all where there is none.",
    "schema": schemas.STRING,
}


class TokenizeBody(Fields):
    """A request to /tokenize: vLLM's with `prompt`, TEI's with `inputs`."""

    prompt: str | None = None
    """vLLM's: one text."""
    inputs: Annotated[Any, WithJsonSchema(_TEXTS)] = None
    """TEI's: a text or a list of texts."""
    model: str | None = None
    """A served model; by default the first embedder, or the first of all where there is none."""
    add_special_tokens: WireBool = True
    """Whether the model's own special tokens are counted in, as /v1/embeddings does."""
    return_token_strs: WireBool = False
    """vLLM's: add each token's text."""


class DetokenizeBody(Fields):
    """A request to /detokenize."""

    tokens: Annotated[Any, WithJsonSchema(_IDS)]
    """A list of token ids."""
    model: str | None = None
    """A served model; by default the first embedder, or the first of all where there is none."""


class DecodeBody(Fields):
    """A request to /decode."""

    ids: Annotated[Any, WithJsonSchema(schemas.either(_IDS, schemas.array(schemas.array(_ID), 1)))]
    """A list of token ids, or a list of such lists."""
    model: str | None = None
    """A served model; by default the first embedder, or the first of all where there is none."""
    skip_special_tokens: WireBool = True
    """Whether control tokens are left out of the text."""


def document_tokenize() -> JsonObject:
    """The OpenAPI operation of /tokenize."""
    either = schemas.either({"required": ["prompt"]}, {"required": ["inputs"]})
    return openapi.operation(
        "Tokens of texts: with `prompt` in the shape of vLLM, with `inputs` in that of TEI",
        "Neighbours",
        openapi.EITHER_ERROR,
        schemas.either(VLLM_TOKENS, TEI_TOKENS),
        takes=openapi.body(TokenizeBody) | either,
        headers=openapi.NOTES,
    )


def document_detokenize() -> JsonObject:
    """The OpenAPI operation of /detokenize."""
    answer = schemas.listed(prompt=schemas.STRING)
    takes = openapi.body(DetokenizeBody)
    summary = "The text of token ids, in the shape of vLLM"
    return openapi.operation(summary, "Neighbours", openapi.OPENAI_ERROR, answer, takes=takes, headers=openapi.NOTES)


def document_decode() -> JsonObject:
    """The OpenAPI operation of /decode."""
    answer = schemas.array(schemas.STRING)
    takes = openapi.body(DecodeBody)
    summary = "The texts of token ids, in the shape of TEI"
    return openapi.operation(summary, "Neighbours", openapi.TEI_ERROR, answer, takes=takes, headers=openapi.NOTES)


def document_info() -> JsonObject:
    """The OpenAPI operation of /info."""
    found = openapi.operation("What is served and how, in the shape of TEI", "Neighbours", openapi.TEI_ERROR, INFO)
    return found | {"parameters": [MODEL]}
