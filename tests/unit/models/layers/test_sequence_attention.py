"""Attention inside sequences equals the softmax written out: windows, sinks, grouped heads, narrow values."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from models.layers import sequence_attention as sequences
from models.layers.sequence_attention import Rule, SequenceLayout
from tests.support.networks.flash_varlen import flash_varlen

LENGTHS = (7, 1, 40, 13, 300)
HEADS = 4


def tensors(groups: int = HEADS, width: int = 16, value_width: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    tokens = sum(LENGTHS)
    shapes = ((HEADS, width), (groups, width), (groups, value_width))
    query, key, value = (torch.randn(1, heads, tokens, width, generator=random) for heads, width in shapes)
    return query * 2, key, value


def written_out(query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
    """One softmax per sequence over a full matrix of scores."""
    key, value = (tensor.repeat_interleave(HEADS // tensor.shape[1], dim=1) for tensor in (key, value))
    bounds = np.cumsum([0, *LENGTHS]).tolist()
    return torch.cat([_one(query[0, :, a:b], key[0, :, a:b], value[0, :, a:b], rule) for a, b in pairwise(bounds)])


def _one(query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
    places = torch.arange(query.shape[1])
    behind = places[:, None] - places
    hidden = (behind < 0) if rule.causal else torch.zeros_like(behind, dtype=torch.bool)
    if rule.window is not None:
        hidden |= behind.abs() >= rule.window
    scores = (query @ key.mT * (rule.scale or query.shape[-1] ** -0.5)).masked_fill(hidden, -torch.inf)
    sinks = torch.full((HEADS,), -torch.inf) if rule.sinks is None else rule.sinks
    column = sinks[:, None, None].expand(-1, query.shape[1], 1)
    weights = torch.cat([scores, column], dim=2).softmax(2)[..., :-1]
    return (weights @ value).transpose(0, 1)


RULES = {
    "causal": Rule(causal=True),
    "bidirectional": Rule(causal=False),
    "scaled": Rule(causal=True, scale=0.3),
    "causal window": Rule(causal=True, window=9),
    "bidirectional window": Rule(causal=False, window=9),
    "window of one": Rule(causal=True, window=1),
    "wide window": Rule(causal=False, window=290),
    "sinks": Rule(causal=True, sinks=torch.tensor([3.0, -2.0, 0.5, 1.0])),
    "sinks, window": Rule(causal=True, window=9, sinks=torch.tensor([3.0, -2.0, 0.5, 1.0])),
    "sinks, bidirectional": Rule(causal=False, sinks=torch.tensor([3.0, -2.0, 0.5, 1.0])),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("groups", [4, 2, 1])
def test_it_equals_the_softmax_written_out(rule: Rule, groups: int) -> None:
    query, key, value = tensors(groups)

    out = SequenceLayout(LENGTHS, torch.device("cpu")).attend(query, key, value, rule)

    torch.testing.assert_close(out, written_out(query, key, value, rule), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_values_may_be_narrower_than_keys(rule: Rule) -> None:
    query, key, value = tensors(value_width=10)

    out = SequenceLayout(LENGTHS, torch.device("cpu")).attend(query, key, value, rule)

    assert out.shape == (sum(LENGTHS), HEADS, 10)
    torch.testing.assert_close(out, written_out(query, key, value, rule), rtol=1e-5, atol=1e-5)


def test_it_notes_the_windows_that_layers_ask_for() -> None:
    packing = SequenceLayout(LENGTHS, torch.device("cpu"))

    for name in ("causal", "causal window"):
        packing.attend(*tensors(), RULES[name])

    assert packing.windows == {None, 9}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_keys_that_are_repeated_equal_grouped_ones(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = tensors(groups=2)
    monkeypatch.setattr("models.layers.attention._supports_grouped_heads", lambda *_: False)

    out = SequenceLayout(LENGTHS, torch.device("cpu")).one_by_one(query, key, value, rule)

    torch.testing.assert_close(out, written_out(query, key, value, rule), rtol=1e-5, atol=1e-5)


@pytest.fixture
def device_of_our_own(varlen_on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that claims to have varlen_attn."""
    monkeypatch.setattr(sequences, "has_varlen", lambda *_: True)
    sequences._is_exact_in_one_call.cache_clear()


@pytest.mark.usefixtures("device_of_our_own")
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("groups", [4, 2])
def test_the_call_for_cuda_equals_the_softmax_written_out(rule: Rule, groups: int) -> None:
    query, key, value = tensors(groups, value_width=10)

    out = SequenceLayout(LENGTHS, torch.device("cpu")).attend(query, key, value, rule)

    assert sequences._is_exact_in_one_call.cache_info().currsize == 1
    torch.testing.assert_close(out, written_out(query, key, value, rule), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("device_of_our_own")
def test_heads_whose_numbers_lie_apart_are_laid_together_for_the_kernel() -> None:
    heads = tensors()
    apart = [tensor.mT.contiguous().mT for tensor in heads]

    out = SequenceLayout(LENGTHS, torch.device("cpu")).attend(*apart, RULES["causal"])

    torch.testing.assert_close(out, written_out(*heads, RULES["causal"]), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("device_of_our_own")
@pytest.mark.parametrize("wrong", ["window", "sums", "raises"])
@pytest.mark.parametrize("rule", ["causal window", "sinks, window"])
def test_a_kernel_that_is_wrong_or_refuses_is_not_used(wrong: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses_heads(*tensors: Tensor, window_size: tuple[int, int], **options: object) -> tuple[Tensor, Tensor]:
        if wrong == "raises":
            message = "head dimension 16 is not supported"
            raise RuntimeError(message)
        left = -1 if wrong == "window" else window_size[0]
        out, sums = flash_varlen(*tensors, **options, window_size=(left, window_size[1]))  # type: ignore[arg-type]
        # To base 2, as inside the kernels.
        return out, sums / np.log(2) if wrong == "sums" else sums

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", refuses_heads)
    monkeypatch.setattr("models.layers.varlen_attention._parameters", lambda: {"window_size", "enable_gqa"})
    query, key, value = tensors()

    out = SequenceLayout(LENGTHS, torch.device("cpu")).attend(query, key, value, RULES[rule])

    torch.testing.assert_close(out, written_out(query, key, value, RULES[rule]), rtol=1e-5, atol=1e-5)
