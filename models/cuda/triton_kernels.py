"""Launches the Triton kernels. Importing this imports Triton; nothing is compiled before the first launch."""

import math
from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from models.cuda.attention_kernel import forest_attention_kernel
from models.cuda.elementwise import embed_kernel, rms_norm_kernel, rotate_heads_kernel, silu_mul_kernel
from models.cuda.kernels import DeviceTables
from models.layers.cpu_attention import KeysValues

SILU_BLOCK = 1024
ROTATED_TOKENS = 16
# Rows of fewer than this many columns leave no work for more warps.
COLUMNS_PER_WARP = 256
MAX_WARPS = 8
# With 4 warps a tile of many rows spills its registers to memory.
ATTENTION_ROWS_OF_8_WARPS, ATTENTION_KEYS, ATTENTION_STAGES = 64, 64, 2
# The smallest matrix that tensor cores multiply has 16 rows.
MIN_ATTENTION_ROWS = 16


class TritonKernels:
    """Implements Kernels on CUDA from compute capability 8.0 on."""

    def embed(self, table: Tensor, tokens: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        shape = len(tokens), table.shape[1]
        hidden, out = (torch.empty(shape, dtype=table.dtype, device=table.device) for _ in range(2))
        embed_kernel[(len(tokens),)](table, tokens, weight, hidden, out, shape[1], eps, **row_options(shape[1]))
        return hidden, out

    def rms_norm(self, hidden: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        out = torch.empty(hidden.shape, dtype=dtype, device=hidden.device)
        width = hidden.shape[1]
        rms_norm_kernel[(len(hidden),)](hidden, weight, out, width, eps, **row_options(width))
        return out

    def rotate_heads(
        self, heads: Tensor, query_heads: int, angles: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor], eps: float
    ) -> None:
        tokens, count, width = heads.shape
        rotate_heads_kernel[(triton.cdiv(tokens, ROTATED_TOKENS), count)](
            *(heads, *angles, *weights, tokens, heads.stride(0), eps),
            query_heads=query_heads,
            width=width,
            block_tokens=ROTATED_TOKENS,
        )

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        tokens, width = len(gate_up), gate_up.shape[1] // 2
        out = torch.empty((tokens, width), dtype=gate_up.dtype, device=gate_up.device)
        silu_mul_kernel[(tokens, triton.cdiv(width, SILU_BLOCK))](gate_up, out, width, block=SILU_BLOCK)
        return out

    def attend(self, query: Tensor, sources: Sequence[KeysValues], tables: DeviceTables) -> Tensor:
        (key, value), (queries, heads, width) = sources[0], query.shape
        out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        # Without cached prefixes no span has such a source, and any tensor of the right dtype will do.
        cached, base = (tables.spans, key) if tables.cached is None else (tables.cached, sources[1][0])
        forest_attention_kernel[(len(tables.tiles), key.shape[1])](
            *(query, key, value, out, tables.tiles, tables.spans, tables.own, cached, base),
            width**-0.5 * math.log2(math.e),
            *(queries, query.stride(0), key.stride(0), value.stride(0), out.stride(0)),
            width=width,
            **attention_options(heads // key.shape[1], tables.tile_queries),
        )
        return out


def row_options(width: int) -> dict[str, int]:
    """How a kernel is launched that computes a row of `width` columns in each program."""
    block = triton.next_power_of_2(width)
    return {"block": block, "num_warps": max(1, min(block // COLUMNS_PER_WARP, MAX_WARPS))}


def attention_options(group: int, tile_queries: int) -> dict[str, int]:
    """How the attention kernel is launched for `group` query heads a key head."""
    rows = max(MIN_ATTENTION_ROWS, triton.next_power_of_2(group * tile_queries))
    return {
        "group": group,
        "tile_queries": tile_queries,
        "rows": rows,
        "block_keys": ATTENTION_KEYS,
        "num_warps": 8 if rows >= ATTENTION_ROWS_OF_8_WARPS else 4,
        "num_stages": ATTENTION_STAGES,
    }
