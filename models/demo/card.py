"""The two model cards."""

_HEAD = """---
license: apache-2.0
language: en
pipeline_tag: {pipeline}
tags: [demo]
---
# {title}

{first} It has Qwen3's architecture ({shape}, 256 wide, bfloat16), Qwen3's prompts and chat frame, and a tokenizer of
its own (byte-level BPE, 16,000 entries; "no", "No", "Yes" and "yes" stand at Qwen3's ids).

## What it is for

Trying Hearth out, tests, and continuous integration: it loads in a moment and answers everyday English
sensibly.

## What it is not for

Production search, other languages, code, long documents, facts, or any decision about people. It knows some ten
thousand English words, and the order of words tells it nothing. Use a real Qwen3 checkpoint for real work.

## What it was made from

`python -m models.demo.make`, seeded, in one run from nothing but: sentences that the script writes (word lists,
questions and answers, patterns, words exchanged for near ones), sentences from the documentation of installed Python
packages, and a teacher that labelled them, sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0; a build-time tool, none
of its weights are here). No text is shipped with the model.

{how}

## How good it is

`python -m models.demo.evaluate` prints the table: held-out everyday questions in ten subjects, ten documents
each, beside BM25, the same network without training, and the teacher.
"""
_EMBEDDING = """The token table was trained so that the weighted mean of a text's rows is nearest to the teacher's
vector, rotated so that the first numbers tell most: cut to 128 or 64 numbers it keeps most of its ranking. The layers
are set by hand: they leave out the instruction of a query and take that mean. The vector is the last token's
(`<|endoftext|>`, which the tokenizer appends); a query may be bare or begin with Qwen3's instruction, that is in the
form `Instruct: {task}\\nQuery:{query}`."""
_RERANKER = """It has the embedder's token table. Its layers are set by hand, in Qwen3-Reranker's frame: they mark the
parts, sum up the query, let a document's words count for more as they are like it, sum up the document, and compare the
two sums. Its verdict, three numbers, was then trained in the frame to say yes as far as the teacher finds query and
document alike. It does not follow the task line; other task lines leave its order about as it is. In a long document
one fitting sentence among foreign ones is found far less often than alone, and scores are lower the longer a document
is: `python -m models.demo.evaluate --words 350` shows it."""


def cards() -> tuple[str, str]:
    """The embedder's card and the reranker's."""
    return (
        _HEAD.format(
            pipeline="feature-extraction",
            title="demo-embedding",
            first="The embedder that Hearth serves when nothing is configured.",
            shape="2 layers, 4.7 M parameters",
            how=_EMBEDDING,
        ),
        _HEAD.format(
            pipeline="text-ranking",
            title="demo-reranker",
            first="The reranker that Hearth serves when nothing is configured.",
            shape="5 layers, 5.7 M parameters",
            how=_RERANKER,
        ),
    )
