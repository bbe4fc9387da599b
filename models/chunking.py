"""Cuts a long text into chunks, of which a forward pass computes one at a time. Pure: no torch."""

from models.packing import Span

# The work of attention to this many tokens is about that of everything else in a layer.
ATTENTION_TOKENS = 2048
# The first chunk, which sees no earlier one. Later ones have less work, but keep matrix products large.
FIRST_CHUNK_TOKENS = 1024
# Attention computes blocks of so many queries.
CHUNK_STEP = 128


def pass_work(start: int, stop: int) -> float:
    """The work for the tokens of a text from `start` to `stop`, in tokens of a short text.

    Each token costs one, and attention to those before it, in proportion to their number.
    """
    return (stop - start) * (1 + (start + stop) / (2 * ATTENTION_TOKENS))


def chunk_spans(tokens: int) -> list[Span]:
    """Chunks of about the same work that cover a text of `tokens`."""
    spans, start = [], 0
    while start < tokens:
        length = FIRST_CHUNK_TOKENS * ATTENTION_TOKENS // (ATTENTION_TOKENS + start) if start else FIRST_CHUNK_TOKENS
        stop = min(start + max(length // CHUNK_STEP, 1) * CHUNK_STEP, tokens)
        spans.append((start, stop))
        start = stop
    return spans
