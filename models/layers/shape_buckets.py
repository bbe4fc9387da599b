"""Sizes of matrix products on CPUs, rounded up so that few shapes occur. Pure.

oneDNN compiles a program for each shape, which takes it 0.3 ms and half a megabyte of memory, and keeps up to 1,024 of
them. Rounding up costs time in proportion to the size of the matrix, so how finely to round depends on that.
"""

# A product of 1 to 3 tokens takes no less time than one of 4.
LEAST_TOKENS = 4
# A matrix with fewer elements than this is multiplied by a padded row in less than 10 microseconds.
LARGE_MATRIX = 2**20
# Sizes between a number of tokens and its double. 16 sizes pad by 2% on average, 2 sizes by 17%.
LARGE_MATRIX_STEPS, SMALL_MATRIX_STEPS = 16, 2
LEAST_QUERIES, QUERY_STEPS = 16, 1
LEAST_KEYS, KEY_STEPS = 64, 8
# The same for blocks of few keys, which those steps would enlarge by more than MOST_PADDING.
SMALL_BLOCK_KEYS = 512
MOST_PADDING = 1.2
LEAST_FEW_QUERIES, LEAST_FEW_KEYS, FEW_STEPS = 8, 16, 2


def padded_tokens(count: int, elements: int) -> int:
    """The number of rows with which a matrix of that many elements multiplies `count` tokens.

    Up to 1024 tokens there are 80 sizes for a large matrix, and 16 for a small one.
    """
    return _round_up(count, LEAST_TOKENS, LARGE_MATRIX_STEPS if elements >= LARGE_MATRIX else SMALL_MATRIX_STEPS)


def padded_queries(count: int) -> int:
    """The number of queries of a large block of attention that holds `count`: 16, 32, 64 or 128."""
    return _round_up(count, LEAST_QUERIES, QUERY_STEPS)


def padded_keys(count: int) -> int:
    """The number of keys of a large block of attention with `count`: 8 sizes up to 512, 8 more for each doubling."""
    return _round_up(count, LEAST_KEYS, KEY_STEPS)


def padded_block(queries: int, keys: int) -> tuple[int, int]:
    """The queries and keys of a block of attention, as its products have them.

    As padded_queries() and padded_keys() say, or fewer: a small block would grow too much.
    """
    coarse = padded_queries(queries), padded_keys(keys)
    if keys > SMALL_BLOCK_KEYS or coarse[0] * coarse[1] <= MOST_PADDING * queries * keys:
        return coarse
    fine = _round_up(keys, LEAST_FEW_KEYS, FEW_STEPS) if keys <= LEAST_KEYS else coarse[1]
    return _round_up(queries, LEAST_FEW_QUERIES, FEW_STEPS), fine


def _round_up(count: int, least: int, steps: int) -> int:
    """Round up to a multiple of `least`, or to one of `steps` sizes between two powers of two."""
    octave = 1 << max(count - 1, 0).bit_length()
    step = max(least, octave // (2 * steps))
    return -(-count // step) * step
