"""The element-wise work of a decoder layer in Triton. Each kernel rounds where models.layers.decoder does."""

import triton
import triton.language as tl


@triton.jit
def rms_norm_kernel(hidden, weight, out, width, eps, block: tl.constexpr):
    """RMSNorm of one row a program, [T, width], rounded to the dtype of `out`."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    wide = tl.load(hidden + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    normed = _normalized(wide, weight + columns, inside, width, eps, out.dtype.element_ty)
    tl.store(out + row * width + columns, normed, mask=inside)


@triton.jit
def embed_kernel(table, tokens, weight, hidden, out, width, eps, block: tl.constexpr):
    """Rows of the token table [V, width], and their RMSNorm; one token a program."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    states = tl.load(table + tl.load(tokens + row) * width + columns, mask=inside, other=0.0)
    tl.store(hidden + row * width + columns, states, mask=inside)
    normed = _normalized(states.to(tl.float32), weight + columns, inside, width, eps, out.dtype.element_ty)
    tl.store(out + row * width + columns, normed, mask=inside)


@triton.jit
def _normalized(wide, weight_at, inside, width, eps, dtype: tl.constexpr):
    scale = tl.rsqrt(tl.sum(wide * wide, 0) / width + eps)
    weight = tl.load(weight_at, mask=inside, other=0.0).to(dtype).to(tl.float32)
    return ((wide * scale).to(dtype).to(tl.float32) * weight).to(dtype)


@triton.jit
def rotate_heads_kernel(
    states,
    cosines,
    sines,
    query_weight,
    key_weight,
    tokens,
    stride,
    eps,
    query_heads: tl.constexpr,
    width: tl.constexpr,
    block_tokens: tl.constexpr,
):
    """RMSNorm each head and rotate it by its position, in place; one head of some tokens a program.

    The first `query_heads` heads of a row take `query_weight`, the others `key_weight`. Heads that have no program, as
    those of the values, stay. cosines, sines: float32 [T, width / 2]; made outside of kernels, in float32 as the plain
    layers make them: frequencies computed here were 6e-3 off at position 32,767.
    """
    half: tl.constexpr = width // 2
    rows = tl.program_id(0).to(tl.int64) * block_tokens + tl.arange(0, block_tokens)
    head = tl.program_id(1)
    inside = (rows < tokens)[:, None]
    columns = tl.arange(0, half)
    first_at = states + rows[:, None] * stride + head * width + columns[None, :]
    first = tl.load(first_at, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(first_at + half, mask=inside, other=0.0).to(tl.float32)
    weight = query_weight if head < query_heads else key_weight
    first_weight = tl.load(weight + columns).to(tl.float32)[None, :]
    second_weight = tl.load(weight + half + columns).to(tl.float32)[None, :]
    cos = tl.load(cosines + rows[:, None] * half + columns[None, :], mask=inside, other=0.0)
    sin = tl.load(sines + rows[:, None] * half + columns[None, :], mask=inside, other=0.0)
    scale = tl.rsqrt((tl.sum(first * first, 1) + tl.sum(second * second, 1)) / width + eps)[:, None]
    a, b = first * first_weight, second * second_weight
    dtype: tl.constexpr = states.dtype.element_ty
    tl.store(first_at, ((a * cos - b * sin) * scale).to(dtype), mask=inside)
    tl.store(first_at + half, ((b * cos + a * sin) * scale).to(dtype), mask=inside)


@triton.jit
def silu_mul_kernel(gate_up, out, width, block: tl.constexpr):
    """silu(gate) * up of rows [T, 2 * width], gate first; `block` columns of one row a program."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    inside = columns < width
    gate = tl.load(gate_up + row * 2 * width + columns, mask=inside, other=0.0)
    up = tl.load(gate_up + row * 2 * width + width + columns, mask=inside, other=0.0)
    wide = gate.to(tl.float32)
    activated = (wide * tl.sigmoid(wide)).to(gate.dtype).to(tl.float32)
    tl.store(out + row * width + columns, (activated * up.to(tl.float32)).to(gate.dtype), mask=inside)
