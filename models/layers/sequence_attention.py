"""Attention inside each of several sequences that lie one after another. It knows tensors, no networks."""

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
from models.layers.cpu_attention import Block, attend, sequence_blocks
from models.packing import Span

log = logging.getLogger("hearth.models")

# Queries at a time where a mask is needed: it and the scores stay small however long a text is.
BLOCK_QUERIES = 256
# Between bfloat16 and float32 attention over random heads.
ATTENTION_TOLERANCE = 0.03


@dataclass(frozen=True, slots=True)
class Rule:
    """Who sees whom inside a sequence, and how strongly.

    `window`: tokens that a query sees to either side (to its left when causal), itself included; None is all.
    `sinks`: one logit a query head, [N], that takes part in the softmax and has no value (gpt_oss).
    """

    causal: bool
    window: int | None = None
    scale: float | None = None
    sinks: Tensor | None = None


Implementation = Callable[[Tensor, Tensor, Tensor, Rule], Tensor]


class SequenceLayout:
    """Where each sequence begins and ends. Made once a forward pass, used by each of its layers."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self._lengths, self._device = lengths, device
        self._spans: list[Span] = list(pairwise(accumulate(lengths, initial=0)))
        self._blocks: dict[tuple[bool, int | None], list[Block]] = {}
        self.windows: set[int | None] = set()  # that layers have asked for

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """Attention [T, N, Dv] of queries [1, N, T, D] to keys [1, K, T, D] and values [1, K, T, Dv]."""
        self.windows.add(rule.window)
        width = value.shape[-1]
        if width < query.shape[-1]:
            # The fast kernels want one width for all; DeepSeek's values are narrower than its keys.
            value = F.pad(value, (0, query.shape[-1] - width))
        return self._implementation(query, key, rule)(query, key, value, rule)[..., :width]

    def _implementation(self, query: Tensor, key: Tensor, rule: Rule) -> Implementation:
        shape = query.shape[1], key.shape[1], query.shape[-1]
        if has_varlen(self._device, query.dtype, shape[2]) and _is_right_at_once(
            shape, query.dtype, self._device, rule.causal, rule.window
        ):
            return self.at_once
        return self.in_blocks if self._device.type == "cpu" and rule.sinks is None else self.one_by_one

    def in_blocks(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """The same for one width of heads, on CPUs, without sinks."""
        if (rule.causal, rule.window) not in self._blocks:
            self._blocks[rule.causal, rule.window] = list(
                sequence_blocks(self._spans, causal=rule.causal, window=rule.window)
            )
        query, key, value = (each[0].transpose(0, 1) for each in (query, key, value))
        scale = query.shape[-1] ** -0.5 if rule.scale is None else rule.scale
        return attend(query, [(key, value)], self._blocks[rule.causal, rule.window], scale)

    def one_by_one(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """The same for one width of heads, sequence by sequence: any device, any dtype, sinks."""
        out = query.new_empty(query.shape[2], *query.shape[1::2])
        for start, stop in self._spans:
            q, k, v = (each[:, :, start:stop] for each in (query, key, value))
            for queries, keys, mask in _pieces(stop - start, rule, query.device):
                seen = _attend(q[:, :, slice(*queries)], k[:, :, slice(*keys)], v[:, :, slice(*keys)], mask, rule)
                out[start + queries[0] : start + queries[1]] = seen[0].transpose(0, 1)
        return out

    def at_once(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """The same in one call for all sequences, where there is varlen_attn."""
        from models.layers.varlen_attention import varlen

        left = -1 if rule.window is None else rule.window - 1
        q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
        cu_seqlens, max_seqlen = (self.cu_seqlens,) * 2, (max(self._lengths),) * 2
        window = (left, 0 if rule.causal else left)
        out, sums = varlen(q, k, v, cu_seqlens, max_seqlen, window=window, scale=rule.scale)
        return out if rule.sinks is None else _drained(out, sums[..., None], rule.sinks[:, None])

    @cached_property
    def cu_seqlens(self) -> Tensor:
        return to_device(np.cumsum([0, *self._lengths], dtype=np.int32), self._device)


@cache
def _is_right_at_once(
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    device: torch.device,
    causal: bool,
    window: int | None,
) -> bool:
    """Whether varlen_attn takes heads of this `shape` (N, K, D) there, and gives what each sequence gives alone."""
    heads, groups, width = shape
    lengths = (40, 1, (window or 0) + 60)
    # With sinks, so that the log-sum-exp is held against the truth too.
    sinks = torch.linspace(-1, 1, heads, device=device)
    rule = Rule(causal=causal, window=window, scale=0.9 * width**-0.5, sinks=sinks)
    random = torch.Generator(device).manual_seed(0)
    query, key, value = (
        torch.randn(1, count, sum(lengths), width, generator=random, device=device).to(dtype)
        for count in (heads, groups, groups)
    )
    packing = SequenceLayout(lengths, device)
    try:
        states = packing.at_once(query, key, value, rule).float()
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        log.warning("varlen_attn does not support these heads, attention is slower: %s", str(error).split("\n")[0])
        return False
    wanted = packing.one_by_one(query.float(), key.float(), value.float(), rule)
    same = torch.allclose(states, wanted, atol=ATTENTION_TOLERANCE, rtol=0)
    if not same:
        log.warning("varlen_attn gives different numbers for heads of shape %s; not using it", shape)
    return same


def _pieces(length: int, rule: Rule, device: torch.device) -> Iterator[tuple[Span, Span, Tensor | None]]:
    """Stretches of queries, the keys that they see, and who of them sees which; no mask: all, or causally all."""
    if rule.window is None or rule.window >= length:
        yield (0, length), (0, length), None
        return
    reach = rule.window - 1
    for start in range(0, length, BLOCK_QUERIES):
        stop = min(start + BLOCK_QUERIES, length)
        first, last = max(0, start - reach), stop if rule.causal else min(length, stop + reach)
        distance = torch.arange(start, stop, device=device)[:, None] - torch.arange(first, last, device=device)
        seen = distance.abs() <= reach
        yield (start, stop), (first, last), seen & (distance >= 0) if rule.causal else seen


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rule: Rule) -> Tensor:
    if rule.sinks is not None:
        return _attend_with_sinks(query, key, value, mask, rule)
    return torch_attention(query, key, value, mask=mask, is_causal=rule.causal and mask is None, scale=rule.scale)


def _attend_with_sinks(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rule: Rule) -> Tensor:
    assert rule.sinks is not None
    scale = query.shape[-1] ** -0.5 if rule.scale is None else rule.scale
    if mask is None:
        every = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
        mask = every.tril() if rule.causal else every
    parts = []
    for start in range(0, query.shape[2], BLOCK_QUERIES):
        block = query[:, :, start : start + BLOCK_QUERIES]
        # Heads that share keys stand one below the other, so that keys are never repeated.
        grouped = block.reshape(1, key.shape[1], -1, block.shape[-1])
        scores = (grouped @ key.mT).float().mul_(scale).view(*block.shape[:3], -1)
        scores.masked_fill_(~mask[start : start + BLOCK_QUERIES], -torch.inf)
        sums = scores.logsumexp(-1, keepdim=True)
        weights = scores.sub_(sums).exp_().to(value.dtype)
        seen = (weights.view(1, key.shape[1], -1, key.shape[2]) @ value).view(*block.shape[:3], -1)
        parts.append(_drained(seen, sums, rule.sinks[:, None, None]))
    return torch.cat(parts, dim=2)


def _drained(seen: Tensor, sums: Tensor, sinks: Tensor) -> Tensor:
    # A column without a value takes exp(sink) of the softmax's sum: out * sum / (sum + exp(sink)).
    return (seen * torch.sigmoid(sums.float() - sinks.float())).to(seen.dtype)
