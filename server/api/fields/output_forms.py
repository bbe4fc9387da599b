"""The words that clients have for the form of vectors: which numbers, and whether as JSON, as base64 or as bytes."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from models import OutputDtype
from server.errors import InvalidValue
from server.serialization import EncodingFormat

# Of Voyage, Mistral, sentence-transformers and vLLM, beside the names of the forms themselves.
_DTYPE_WORDS: Mapping[str, OutputDtype] = {
    "float": "float32",
    "none": "float32",
    "fp16": "float16",
    **{dtype: dtype for dtype in get_args(OutputDtype)},
}
_ENCODINGS: tuple[EncodingFormat, ...] = get_args(EncodingFormat)
# Mixedbread's encoding_format, Jina's and NIM's embedding_type and Cohere's embedding_types name either.
FormWord = Literal["float", "base64", "bytes", "float16", "int8", "uint8", "binary", "ubinary"]
CohereWord = Literal["float", "base64", "float16", "int8", "uint8", "binary", "ubinary"]


def _output_dtype(value: object) -> object:
    dtype = _DTYPE_WORDS.get(value.lower()) if isinstance(value, str) else None
    if dtype is None:
        raise PydanticCustomError("wire", f"expected one of: {', '.join(_DTYPE_WORDS)}.")
    return dtype


WireOutputDtype = Annotated[
    OutputDtype,
    BeforeValidator(_output_dtype),
    WithJsonSchema({"type": "string", "enum": ["float", *get_args(OutputDtype)]}),
]


def dtype_of_word(word: str) -> OutputDtype:
    """The numbers behind a word that names them or an encoding; an encoding has float32."""
    return "float32" if word in _ENCODINGS else _DTYPE_WORDS[word]


def output_form(sent: Iterable[tuple[str, str | None]]) -> tuple[OutputDtype, EncodingFormat]:
    """The form that fields ask for together, each with its name and its word; None was not sent.

    Raises: InvalidValue: two of them ask for different forms.
    """
    dtype: tuple[str, OutputDtype] | None = None
    encoding: tuple[str, EncodingFormat] | None = None
    for field, word in sent:
        if word is None:
            continue
        word_dtype, word_encoding = _parts(field, word)
        for known, new in ((dtype, word_dtype), (encoding, word_encoding)):
            if known is not None and new is not None and known[1] != new:
                raise InvalidValue(field, f"'{word}' contradicts '{known[0]}': '{known[1]}'; send only one.")
        dtype = (field, word_dtype) if word_dtype else dtype
        encoding = (field, word_encoding) if word_encoding else encoding
    return dtype[1] if dtype else "float32", encoding[1] if encoding else "float"


def _parts(field: str, word: str) -> tuple[OutputDtype | None, EncodingFormat | None]:
    if field == "encoding_format" and word == "float":
        # JSON numbers of any form: OpenAI's clients send it beside output_dtype.
        return None, "float"
    if word == "float":
        return "float32", "float"
    encoding = next((name for name in _ENCODINGS if name == word), None)
    return (None, encoding) if encoding else (_DTYPE_WORDS[word], None)
