"""MXFP4: 4-bit numbers, 32 of them to one power of two (OCP Microscaling Formats 1.0)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from models.checkpoint.formats.plan import Microscaled, Shape
from models.dequantization.blocks import Rows

# E2M1 by its bits.
MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
EXPONENT_BIAS = 127


def expert_matrices(scheme: Microscaled, shape: Shape, parts: Mapping[str, Tensor]) -> Rows:
    """Matrices of experts, float32 [experts, inputs, outputs]."""
    del scheme, shape
    blocks, scales = parts["weight"], parts["scale"]
    table = torch.tensor([*MAGNITUDES, *(-number for number in MAGNITUDES)])

    def matrices(start: int, stop: int) -> Tensor:
        pairs = blocks[start:stop]
        # The lower four bits come first.
        numbers = table[torch.stack((pairs & 15, pairs >> 4), -1).flatten(-2).int()]
        exponents = scales[start:stop].int() - EXPONENT_BIAS
        return torch.ldexp(numbers, exponents.unsqueeze(-1)).flatten(-2).transpose(1, 2)

    return matrices
