"""Each part of a decoder layer equals its formula, and leaves its input unchanged."""

import torch
from torch import Tensor

from models.layers.decoder import Gated, Linear, Rotary, rms_norm

WIDTH, EPS, THETA = 16, 1e-6, 1e4


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[0]))


def norm_written_out(hidden: Tensor, weight: Tensor) -> Tensor:
    return hidden / (hidden.square().mean(-1, keepdim=True) + EPS).sqrt() * weight


def turned_written_out(head: Tensor, position: int) -> Tensor:
    """Each pair (d, d + half) as a complex number, rotated by position x theta^(-2d/D)."""
    half = WIDTH // 2
    angles = position * THETA ** (-torch.arange(half) * 2 / WIDTH)
    pairs = torch.complex(head[:half], head[half:]) * torch.polar(torch.ones(half), angles)
    return torch.cat((pairs.real, pairs.imag))


def test_rms_norm_is_its_formula() -> None:
    hidden, weight = drawn(5, WIDTH), drawn(WIDTH)

    torch.testing.assert_close(rms_norm(hidden, weight, EPS), norm_written_out(hidden, weight))


def test_rms_norm_leaves_its_input() -> None:
    hidden = drawn(5, WIDTH)
    before = hidden.clone()

    rms_norm(hidden, drawn(WIDTH), EPS)

    assert torch.equal(hidden, before)


def test_heads_are_normalised_with_their_weight_and_turned_by_their_position() -> None:
    heads, weight = drawn(3, 2, WIDTH), drawn(WIDTH)
    positions = torch.tensor([0, 7, 300])

    turned = Rotary.of(positions, WIDTH, THETA)(heads, weight, EPS)

    wanted = [
        [turned_written_out(norm_written_out(head, weight), int(position)) for head in token]
        for token, position in zip(heads, positions, strict=True)
    ]
    torch.testing.assert_close(turned, torch.stack([torch.stack(token) for token in wanted]), rtol=1e-4, atol=1e-5)


def test_turning_leaves_its_input() -> None:
    heads = drawn(3, 2, WIDTH)
    before = heads.clone()

    Rotary.of(torch.arange(3), WIDTH, THETA)(heads, drawn(WIDTH), EPS)

    assert torch.equal(heads, before)


def test_some_tokens_turn_as_they_do_among_all() -> None:
    heads, weight, rotary = drawn(4, 2, WIDTH), drawn(WIDTH), Rotary.of(torch.arange(4), WIDTH, THETA)
    places = torch.tensor([1, 3])

    torch.testing.assert_close(rotary.at(places)(heads[places], weight, EPS), rotary(heads, weight, EPS)[places])


def test_bfloat16_heads_are_rounded_once() -> None:
    heads, weight, rotary = drawn(4, 2, WIDTH), drawn(WIDTH), Rotary.of(torch.arange(4), WIDTH, THETA)
    half = heads.bfloat16()

    assert torch.equal(rotary(half, weight, EPS), rotary(half.float(), weight, EPS).bfloat16())


def test_a_gate_is_silu_times_up() -> None:
    hidden, gate, up = drawn(5, WIDTH), drawn(8, WIDTH), drawn(9, WIDTH)[:8]

    gated = Gated(torch.cat((gate, up)))(hidden)

    torch.testing.assert_close(gated, torch.nn.functional.silu(hidden @ gate.T) * (hidden @ up.T))


def test_wide_input_widens_the_weight() -> None:
    hidden, weight = drawn(5, WIDTH), drawn(8, WIDTH).bfloat16()

    assert torch.equal(Linear(weight)(hidden), torch.nn.functional.linear(hidden, weight.float()))
