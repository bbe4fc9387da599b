"""The two model cards."""

_HEAD = """---
license: apache-2.0
language: en
pipeline_tag: {pipeline}
tags: [demo]
---
# {title}

{first} It has Qwen3's architecture (4 layers, 256 wide, 5.7 M parameters, bfloat16), Qwen3's prompts and chat
frame, and a tokenizer of its own (byte-level BPE, 16,000 entries; "no", "No", "Yes" and "yes" stand at Qwen3's
ids).

## What it is for

Trying Hearth out, tests, and continuous integration: it loads in a moment and answers everyday English
sensibly.

## What it is not for

Production search, other languages, code, long documents, facts, or any decision about people. It knows some ten
thousand English words, and it has never read a natural text longer than a few sentences. Use a real Qwen3
checkpoint for real work.

## What it was made from

`python -m models.demo.make`, seeded, from nothing but: sentences that the script writes (word lists, patterns,
words exchanged for near ones), sentences from the documentation of installed Python packages, and a teacher
that labelled them, sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0; a build-time tool, none of its weights
are here). No text is shipped.

{how}

## How good it is

`python -m models.demo.evaluate` prints the table: held-out everyday questions in ten subjects, ten documents
each, beside BM25, the same network without training, and the teacher.
"""
_EMBEDDING = """The token table was trained so that the weighted mean of a text's rows is nearest to the teacher's
vector, rotated so that the first numbers tell most: cut to 128 or 64 numbers it keeps most of its ranking. The layers
are set by hand: they leave out the instruction of a query and take that mean. Word order tells it nothing. The
vector is the last token's (`<|endoftext|>`, which the tokenizer appends); a query may be bare or in the form
`Instruct: {task}\\nQuery:{query}`."""
_RERANKER = """Its layers begin set by hand (they mark the parts of the frame, sum up query and document, and
compare the sums) and are then trained in Qwen3-Reranker's frame to say yes as far as the teacher finds query and
document alike (a cosine of 0.28 is even odds). It does not follow the task line; other task lines leave its order
as it is."""


def cards() -> tuple[str, str]:
    """The embedder's card and the reranker's."""
    return (
        _HEAD.format(
            pipeline="feature-extraction",
            title="demo-embedding",
            first="The embedder that Hearth serves when nothing is configured.",
            how=_EMBEDDING,
        ),
        _HEAD.format(
            pipeline="text-ranking",
            title="demo-reranker",
            first="The reranker that Hearth serves when nothing is configured.",
            how=_RERANKER,
        ),
    )
