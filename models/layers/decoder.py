"""The parts of a decoder layer over packed tokens, [T, ...]. Each computes in the dtype of its input."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


class Linear:
    """A matrix product without bias. The weight is cast to the dtype of the input in each call."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight

    @property
    def weight(self) -> Tensor:
        """The matrix, [rows, columns]."""
        return self._weight

    def __call__(self, hidden: Tensor) -> Tensor:
        """[T, columns] -> [T, rows]."""
        return F.linear(hidden, self.weight.to(hidden.dtype))


class Gated:
    """silu(gate) * up, with both matrix products of the input as one."""

    def __init__(self, gate_up: Tensor) -> None:
        self._gate_up = gate_up

    def __call__(self, hidden: Tensor) -> Tensor:
        """[T, H] -> [T, intermediate]."""
        gate, up = self.products(hidden).chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    def products(self, hidden: Tensor) -> Tensor:
        """Gate and up side by side, [T, H] -> [T, 2 intermediate]."""
        return F.linear(hidden, self._gate_up.to(hidden.dtype))


def rms_norm(hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last axis, computed in float32 (transformers Qwen3RMSNorm)."""
    wide = hidden.float()
    scale = _inverse_rms(wide, eps)
    # In place only where `wide` is a copy: float() returns a float32 input itself.
    scaled = wide * scale if wide is hidden else wide.mul_(scale).to(hidden.dtype)
    return scaled.mul_(weight.to(hidden.dtype))


@dataclass(frozen=True, slots=True)
class Rotary:
    """Cosines and sines of the positions of one batch, float32, [T, 1, D] each."""

    cos: Tensor
    sin: Tensor

    @staticmethod
    def of(positions: Tensor, head_dim: int, theta: float) -> "Rotary":
        """The tables of `positions` [T], in float32: in bfloat16 the angles of positions above 256 are wrong."""
        steps = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device)
        angles = positions.float()[:, None] * (1.0 / theta ** (steps / head_dim))
        cos, sin = angles.cos(), angles.sin()
        # The table holds the minus sign of the first half, so that a rotation needs no negated copy.
        return Rotary(torch.cat((cos, cos), 1)[:, None], torch.cat((-sin, sin), 1)[:, None])

    def at(self, places: Tensor) -> "Rotary":
        """The tables of the tokens at `places`."""
        return Rotary(self.cos[places], self.sin[places])

    def __call__(self, heads: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Apply RMSNorm to each head [T, heads, D] and rotate it by its position; rounds once, at the end.

        transformers rounds twice: q_norm or k_norm, then apply_rotary_pos_emb. The weight and the scale of the norm
        commute with the rotation, so both are merged into it: on a CPU this takes a quarter to a half less time.
        """
        wide, half = heads.float(), heads.shape[-1] // 2
        wide_weight = weight.float()
        rotated = wide * (self.cos * wide_weight)
        sin = self.sin * wide_weight.roll(half)  # the halves swap places, and their weights with them
        rotated[..., :half].addcmul_(wide[..., half:], sin[..., :half])
        rotated[..., half:].addcmul_(wide[..., :half], sin[..., half:])
        return rotated.mul_(_inverse_rms(wide, eps)).to(heads.dtype)


def _inverse_rms(wide: Tensor, eps: float) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return norm.square_().div_(wide.shape[-1]).add_(eps).rsqrt_()
