"""What the kernels of a decoder layer compute: their interface, and the plain twins by torch's operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.layers.cpu_attention import KeysValues
from models.layers.decoder import Rotary, rms_norm


@dataclass(frozen=True, slots=True)
class DeviceTables:
    """AttentionTables on the device.

    cached: int64 [prefixes, 3], for each cached prefix of one layer where its keys and its values begin, counted from
        the keys of the first, and their stride, in elements; None without cached prefixes.
    """

    tile_queries: int
    tiles: Tensor
    spans: Tensor
    own: Tensor
    cached: Tensor | None


class Kernels(Protocol):
    """Each method is one launch and never waits for the device. Matrices have contiguous rows, and share one dtype."""

    def embed(self, table: Tensor, tokens: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """The rows [T, H] of `table` [V, H] for `tokens`, int64 [T], and their RMSNorm."""
        ...

    def rms_norm(self, hidden: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        """RMSNorm of `hidden` [T, H], rounded to `dtype`."""
        ...

    def rotate_heads(
        self, heads: Tensor, query_heads: int, angles: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor], eps: float
    ) -> None:
        """RMSNorm each head of `heads` [T, n, D] and rotate it by its position, in place.

        Args:
            heads: rows need not be contiguous, and the heads of a row are.
            query_heads: so many heads come first and take the first of the `weights` [D], the others the second.
            angles: cosines and sines of the positions, float32 [T, D / 2].
            weights: of queries and of keys.
            eps: of the norm.
        """
        ...

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        """silu(gate) * up, [T, I], of `gate_up` [T, 2 I]."""
        ...

    def attend(self, query: Tensor, sources: Sequence[KeysValues], tables: DeviceTables) -> Tensor:
        """Attention [Q, N, D] of queries [Q, N, D] to the keys and values [.., K, D] of all sources."""
        ...


class PlainKernels:
    """Implements Kernels, for any device and dtype, by many launches."""

    def embed(self, table: Tensor, tokens: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        hidden = table[tokens]
        return hidden, rms_norm(hidden, weight, eps)

    def rms_norm(self, hidden: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        return rms_norm(hidden.to(dtype), weight, eps)

    def rotate_heads(
        self, heads: Tensor, query_heads: int, angles: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor], eps: float
    ) -> None:
        cos, sin = angles
        rotary = Rotary(torch.cat((cos, cos), 1)[:, None], torch.cat((-sin, sin), 1)[:, None])
        for part, weight in zip((heads[:, :query_heads], heads[:, query_heads:]), weights, strict=True):
            part.copy_(rotary(part, weight, eps))

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    def attend(self, query: Tensor, sources: Sequence[KeysValues], tables: DeviceTables) -> Tensor:
        """As the kernel does it, tile by tile, from the tables; it reads them on the host."""
        out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        spans, own = tables.spans.tolist(), tables.own.long()
        for number, (first, last, span, span_stop) in enumerate(tables.tiles.tolist()):
            start = number * tables.tile_queries
            queries = torch.arange(start, min(start + tables.tile_queries, len(query)), device=query.device)
            keys = torch.arange(first, last, device=query.device)
            sees = [(keys >= own[queries, :1]) & (keys <= own[queries, 1:])]
            parts = [(sources[0][0][first:last], sources[0][1][first:last])]
            for left, right, source, query_start, query_stop in spans[span:span_stop]:
                inside = (queries >= query_start) & (queries < query_stop)
                sees.append(inside[:, None].expand(-1, right - left))
                parts.append((sources[source][0][left:right], sources[source][1][left:right]))
            key, value = (torch.cat(states) for states in zip(*parts, strict=True))
            out[queries] = _attend(query[queries], key, value, torch.cat(sees, 1))
        return out


def _attend(query: Tensor, key: Tensor, value: Tensor, sees: Tensor) -> Tensor:
    """Attention [q, N, D] with a mask [q, k]; zeros for a query that sees no key."""
    repeats = query.shape[1] // key.shape[1]
    wide_key, wide_value = (states.float().repeat_interleave(repeats, 1) for states in (key, value))
    scores = torch.einsum("qnd,knd->nqk", query.float(), wide_key) * query.shape[-1] ** -0.5
    weights = scores.masked_fill(~sees, -torch.inf).softmax(-1).nan_to_num(0.0)
    return torch.einsum("nqk,knd->qnd", weights, wide_value).to(query.dtype)
