"""The names that clients have for one and the same field. A route documents one of them, and reads all."""

from collections.abc import Collection, Mapping

# Of OpenAI, Cohere and Mistral, DashScope, Google, Nomic, sentence-transformers, Jina, Voyage, TEI and NIM.
EMBEDDING_SPELLINGS: tuple[tuple[str, ...], ...] = (
    (
        "dimensions",
        "output_dimension",
        "output_dimensions",
        "dimension",
        "output_dimensionality",
        "outputDimensionality",
        "dimensionality",
        "truncate_dim",
    ),
    ("encoding_format", "encodingFormat"),
    # Voyage's and Mistral's, and those of sentence-transformers and vLLM.
    ("output_dtype", "precision", "embed_dtype", "dtype", "quantization"),
    # Jina's and NIM's, and Cohere's.
    ("embedding_type", "embedding_types"),
    ("normalize", "normalized", "normalize_embeddings"),
    ("truncate", "truncation"),
    ("truncation_side", "truncation_direction"),
    ("input_type", "text_type"),
    # Jina's, and Google's and Nomic's.
    ("task", "task_type"),
)
RERANK_SPELLINGS: tuple[tuple[str, ...], ...] = (
    ("top_n", "top_k"),
    ("max_tokens_per_doc", "max_doc_length"),
    ("truncate", "truncation"),
    ("truncation_side", "truncation_direction"),
    ("return_documents", "return_text"),
    ("normalize", "normalized"),
    # vLLM's, and that of its older versions.
    ("use_activation", "activation"),
)
SPELLINGS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "embeddings": EMBEDDING_SPELLINGS,
    "rerank": RERANK_SPELLINGS,
    "tokens": (),
}


def aliases_of(own: Collection[str], operation: str) -> dict[str, str]:
    """The further names of a route's own fields, by what they mean; a name that is a field of its own is none."""
    aliases: dict[str, str] = {}
    for names in SPELLINGS[operation]:
        field = next((name for name in names if name in own), None)
        aliases |= {name: field for name in names if field and name not in own}
    return aliases


def spellings(name: str, operation: str) -> tuple[str, ...]:
    """All names of a field; none if it has no other."""
    return next((names for names in SPELLINGS[operation] if name in names), ())


def first_spelling(name: str, operation: str) -> str:
    """The name under which the spellings of a field are looked up."""
    return next(iter(spellings(name, operation)), name)
