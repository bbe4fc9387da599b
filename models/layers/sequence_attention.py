"""Attention inside each of several sequences that are stored one after another. It knows tensors, no networks."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate, pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.devices import has_varlen, to_device
from models.layers.attention import torch_attention
from models.layers.cpu_attention import BlockGroup, attend, sequence_blocks
from models.layers.efficient_attention import efficient
from models.packing import Span

log = logging.getLogger("hearth.models")

# How many queries run at a time with a mask, so that mask and scores stay small for a text of any length.
BLOCK_QUERIES = 256
# The largest difference between bfloat16 and float32 attention over random heads.
ATTENTION_TOLERANCE = 0.03


@dataclass(frozen=True, slots=True)
class Rule:
    """Which tokens of its sequence a query sees, and with which weight.

    causal: whether it sees only the tokens up to itself.
    window: how many tokens it sees to each side (to its left if causal), itself included; None means all.
    scale: multiplies each score; None means D^-0.5.
    sinks: one logit per query head, [N], that takes part in the softmax and has no value (gpt_oss).
    """

    causal: bool
    window: int | None = None
    scale: float | None = None
    sinks: Tensor | None = None


Implementation = Callable[[Tensor, Tensor, Tensor, Rule], Tensor]


class SequenceLayout:
    """Where each sequence starts and ends. One object serves all layers of a forward pass."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self._lengths, self._device = lengths, device
        self._spans: list[Span] = list(pairwise(accumulate(lengths, initial=0)))
        self._blocks: dict[tuple[bool, int | None], list[BlockGroup]] = {}
        self.windows: set[int | None] = set()  # of all calls of attend()

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """Attention [T, N, Dv] of queries [1, N, T, D] to keys [1, K, T, D] and values [1, K, T, Dv]."""
        self.windows.add(rule.window)
        width = value.shape[-1]
        if width < query.shape[-1]:
            # The fast kernels need equal widths; DeepSeek's values are narrower than its keys.
            value = F.pad(value, (0, query.shape[-1] - width))
        return self._implementation(query, key, rule)(query, key, value, rule)[..., :width]

    def _implementation(self, query: Tensor, key: Tensor, rule: Rule) -> Implementation:
        shape = query.shape[1], key.shape[1], query.shape[-1]
        has_kernel = self._device.type == "cuda" or has_varlen(self._device, query.dtype, shape[2])
        if has_kernel and _is_exact_in_one_call(shape, query.dtype, self._device, rule.causal, rule.window):
            return self.in_one_call
        return self.in_blocks if self._device.type == "cpu" and rule.sinks is None else self.one_by_one

    def in_blocks(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """attend() on CPUs, for keys and values of one width, without sinks."""
        if (rule.causal, rule.window) not in self._blocks:
            self._blocks[rule.causal, rule.window] = list(
                sequence_blocks(self._spans, causal=rule.causal, window=rule.window)
            )
        query, key, value = (heads[0].transpose(0, 1) for heads in (query, key, value))
        scale = query.shape[-1] ** -0.5 if rule.scale is None else rule.scale
        return attend(query, [(key, value)], self._blocks[rule.causal, rule.window], scale)

    def one_by_one(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """attend() sequence by sequence, for keys and values of one width, on any device, in any dtype, with sinks."""
        out = query.new_zeros(query.shape[2], *query.shape[1::2])
        for start, stop in self._spans:
            q, k, v = (heads[:, :, start:stop] for heads in (query, key, value))
            for queries, keys, mask in _query_blocks(stop - start, rule, query.device):
                attended = _attend(q[:, :, slice(*queries)], k[:, :, slice(*keys)], v[:, :, slice(*keys)], mask, rule)
                out[start + queries[0] : start + queries[1]] = attended[0].transpose(0, 1)
        return out

    def in_one_call(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """attend() in one call of varlen_attn or of the memory-efficient kernel, for keys and values of one width."""
        from models.layers.varlen_attention import varlen

        attend_all = varlen if has_varlen(self._device, query.dtype, query.shape[-1]) else efficient
        left = -1 if rule.window is None else rule.window - 1
        q, k, v = (heads[0].transpose(0, 1) for heads in (query, key, value))
        cu_seqlens, max_seqlen = (self.cu_seqlens,) * 2, (max(self._lengths),) * 2
        window = (left, 0 if rule.causal else left)
        out, sums = attend_all(q, k, v, cu_seqlens, max_seqlen, window=window, scale=rule.scale)
        return out if rule.sinks is None else _scale_for_sinks(out, sums[..., None], rule.sinks[:, None])

    @cached_property
    def cu_seqlens(self) -> Tensor:
        return to_device(np.cumsum([0, *self._lengths], dtype=np.int32), self._device)


@cache
def _is_exact_in_one_call(
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    causal: bool,
    window: int | None,
) -> bool:
    """Whether one call supports heads of this `shape` (N, K, D) on the device, and equals one_by_one()."""
    heads, groups, width = shape
    lengths = (40, 1, (window or 0) + 60)
    # With sinks, so that the log-sum-exp is compared too.
    sinks = torch.linspace(-1, 1, heads, device=device)
    rule = Rule(causal=causal, window=window, scale=0.9 * width**-0.5, sinks=sinks)
    random = torch.Generator(device).manual_seed(0)
    query, key, value = (
        torch.randn(1, count, sum(lengths), width, generator=random, device=device).to(dtype)
        for count in (heads, groups, groups)
    )
    layout = SequenceLayout(lengths, device)
    try:
        states = layout.in_one_call(query, key, value, rule).float()
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        log.warning(
            "attention in one call does not support heads of shape %s, so it is slower: %s",
            shape,
            str(error).split("\n")[0],
        )
        return False
    expected = layout.one_by_one(query.float(), key.float(), value.float(), rule)
    same = torch.allclose(states, expected, atol=ATTENTION_TOLERANCE, rtol=0)
    if not same:
        log.warning(
            "attention in one call gives wrong results for heads of shape %s, so it is not used and slower", shape
        )
    return same


def _query_blocks(length: int, rule: Rule, device: torch.device) -> Iterator[tuple[Span, Span, Tensor | None]]:
    """Spans of queries, the keys that they see, and a mask [q, k]; None means all keys (up to itself if causal)."""
    if rule.window is None or rule.window >= length:
        yield (0, length), (0, length), None
        return
    reach = rule.window - 1
    for start in range(0, length, BLOCK_QUERIES):
        stop = min(start + BLOCK_QUERIES, length)
        first, last = max(0, start - reach), stop if rule.causal else min(length, stop + reach)
        distance = torch.arange(start, stop, device=device)[:, None] - torch.arange(first, last, device=device)
        sees = distance.abs() <= reach
        yield (start, stop), (first, last), sees & (distance >= 0) if rule.causal else sees


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rule: Rule) -> Tensor:
    if rule.sinks is not None:
        return _attend_with_sinks(query, key, value, mask, rule)
    return torch_attention(query, key, value, mask=mask, is_causal=rule.causal and mask is None, scale=rule.scale)


def _attend_with_sinks(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rule: Rule) -> Tensor:
    assert rule.sinks is not None
    scale = query.shape[-1] ** -0.5 if rule.scale is None else rule.scale
    if mask is None:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
        mask = mask.tril() if rule.causal else mask
    blocks = []
    for start in range(0, query.shape[2], BLOCK_QUERIES):
        block = query[:, :, start : start + BLOCK_QUERIES]
        # The queries of heads that share keys form one matrix, so that keys are never repeated.
        grouped = block.reshape(1, key.shape[1], -1, block.shape[-1])
        scores = (grouped @ key.mT).float().mul_(scale).view(*block.shape[:3], -1)
        scores.masked_fill_(~mask[start : start + BLOCK_QUERIES], -torch.inf)
        sums = scores.logsumexp(-1, keepdim=True)
        weights = scores.sub_(sums).exp_().to(value.dtype)
        attended = (weights.view(1, key.shape[1], -1, key.shape[2]) @ value).view(*block.shape[:3], -1)
        blocks.append(_scale_for_sinks(attended, sums, rule.sinks[:, None, None]))
    return torch.cat(blocks, dim=2)


def _scale_for_sinks(attended: Tensor, sums: Tensor, sinks: Tensor) -> Tensor:
    # A sink adds exp(sink) to the denominator of the softmax only: out * sum / (sum + exp(sink)).
    return (attended * torch.sigmoid(sums.float() - sinks.float())).to(attended.dtype)
