"""Attention over a forest as one Triton kernel, whose grid depends on the number of queries alone.

A program computes a tile: some neighbouring queries, with all the heads that share keys, so that keys are read once.
Everything else stands in the tables of models.cuda.tables, so that one captured launch serves any forest.
"""

import triton
import triton.language as tl


@triton.jit
def forest_attention_kernel(
    query,
    key,
    value,
    out,
    tiles,
    spans,
    own,
    cached,
    cached_base,
    scale,
    queries,
    query_stride,
    key_stride,
    value_stride,
    out_stride,
    group: tl.constexpr,
    width: tl.constexpr,
    tile_queries: tl.constexpr,
    rows: tl.constexpr,
    block_keys: tl.constexpr,
):
    """Attention [Q, N, D] of queries [Q, N, D] to keys and values [.., K, D]. Grid: tiles, K.

    tiles, spans, own: see models.cuda.tables.AttentionTables.
    cached: for each source from 1 on where its keys and its values begin, counted from cached_base, and their stride;
        int64, in elements. Not addresses: the compiler would not know that they are aligned.
    scale: multiplies each score, log2(e) included.
    group: query heads for each key head.
    rows: a power of 2, at least group * tile_queries.
    """
    tile, key_head = tl.program_id(0), tl.program_id(1)
    lanes, columns = tl.arange(0, rows), tl.arange(0, width)
    places, heads = tile * tile_queries + lanes // group, key_head * group + lanes % group
    there = (lanes < tile_queries * group) & (places < queries)
    offset = heads * width
    states = tl.load(
        query + places.to(tl.int64)[:, None] * query_stride + offset[:, None] + columns[None, :],
        mask=there[:, None],
        other=0.0,
    )
    # Own keys of a lane without a query: none.
    first_own = tl.load(own + places * 2, mask=there, other=0)
    last_own = tl.load(own + places * 2 + 1, mask=there, other=-1)
    most = tl.full([rows], float("-inf"), tl.float32)
    total = tl.zeros([rows], tl.float32)
    sums = tl.zeros([rows, width], tl.float32)
    head_columns = key_head * width + columns[None, :]
    for number in range(tl.load(tiles + tile * 4 + 2), tl.load(tiles + tile * 4 + 3)):
        span = spans + number * 5
        start, stop, source = tl.load(span), tl.load(span + 1), tl.load(span + 2)
        sees = there & (places >= tl.load(span + 3)) & (places < tl.load(span + 4))
        key_from, value_from = key, value
        from_key_stride, from_value_stride = key_stride.to(tl.int64), value_stride.to(tl.int64)
        if source > 0:
            entry = cached + (source - 1) * 3
            key_from = cached_base + tl.multiple_of(tl.load(entry), 16)
            value_from = cached_base + tl.multiple_of(tl.load(entry + 1), 16)
            from_key_stride = tl.multiple_of(tl.load(entry + 2), 16)
            from_value_stride = from_key_stride
        for first in range(start, stop, block_keys):
            numbers = first + tl.arange(0, block_keys)
            inside = numbers < stop
            most, total, sums = _add_keys(
                states,
                key_from + numbers.to(tl.int64)[:, None] * from_key_stride + head_columns,
                value_from + numbers.to(tl.int64)[:, None] * from_value_stride + head_columns,
                inside,
                sees[:, None] & inside[None, :],
                most,
                total,
                sums,
                scale,
            )
    stop = tl.load(tiles + tile * 4 + 1)
    for first in range(tl.load(tiles + tile * 4), stop, block_keys):
        numbers = first + tl.arange(0, block_keys)
        most, total, sums = _add_keys(
            states,
            key + numbers.to(tl.int64)[:, None] * key_stride + head_columns,
            value + numbers.to(tl.int64)[:, None] * value_stride + head_columns,
            numbers < stop,
            (numbers[None, :] >= first_own[:, None]) & (numbers[None, :] <= last_own[:, None]),
            most,
            total,
            sums,
            scale,
        )
    # A query without keys, as in the tiles that fill a captured grid, gives zeros.
    attended = sums / tl.where(total == 0.0, 1.0, total)[:, None]
    tl.store(
        out + places.to(tl.int64)[:, None] * out_stride + offset[:, None] + columns[None, :],
        attended.to(out.dtype.element_ty),
        mask=there[:, None],
    )


@triton.jit
def _add_keys(query, key_at, value_at, inside, sees, most, total, sums, scale):
    """The running maximum, denominator and numerator of the softmax after one more block of keys."""
    key = tl.load(key_at, mask=inside[:, None], other=0.0)
    # Float32 products stay float32; half precision has one way only.
    scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
    scores = tl.where(sees, scores, float("-inf"))
    now = tl.maximum(most, tl.max(scores, 1))
    # A row that has seen no key yet would subtract infinities.
    finite = tl.where(now == float("-inf"), 0.0, now)
    weights = tl.exp2(scores - finite[:, None])
    shrink = tl.exp2(most - finite)
    value = tl.load(value_at, mask=inside[:, None], other=0.0)
    sums = sums * shrink[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
    return now, total * shrink + tl.sum(weights, 1), sums
