"""Weights as gpt-oss (MXFP4) and DeepSeek (FP8) publish them, and the numbers that they stand for."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]

# OCP Microscaling Formats 1.0: FP4 E2M1's values by their bits, 32 of them to one power of two.
FP4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])
FP4_BLOCK = 32
FP8_MAX = 448.0
# The published blocks are of 128 x 128; a small twin's matrices would all be smaller than one.
FP8_BLOCK = 16


def mxfp4(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Tensors]:
    """gpt-oss: the experts' matrices as blocks and scales; what is stored, and what it means in float32."""
    stored: Tensors = {}
    meant: Tensors = {}
    for name, tensor in tensors.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            stored[name] = meant[name] = tensor
            continue
        # Stored with the inputs last, [experts, out, in]; the network has them in reverse.
        blocks, scales, values = _mxfp4(tensor.transpose(1, 2).contiguous())
        stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        meant[name] = values.transpose(1, 2).contiguous()
    return stored, meant


def fp8(tensors: Mapping[str, Tensor]) -> tuple[Tensors, Tensors]:
    """DeepSeek-V3: every linear layer but the head, the routers and the norms; what is stored and what it means."""
    stored: Tensors = {}
    meant: Tensors = {}
    for name, tensor in tensors.items():
        if not name.endswith("_proj.weight") and not name.endswith("_proj_with_mqa.weight"):
            stored[name] = meant[name] = tensor
            continue
        values, scales, meant[name] = _fp8(tensor)
        stored |= {name: values, f"{name}_scale_inv": scales}
    return stored, meant


QUANTISED: dict[str, Callable[[Mapping[str, Tensor]], tuple[Tensors, Tensors]]] = {"mxfp4": mxfp4, "fp8": fp8}


def _mxfp4(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    groups = matrix.unflatten(-1, (-1, FP4_BLOCK))
    largest = groups.abs().amax(-1, keepdim=True).clamp_min(1e-20)
    # 6 is the largest value: 2 ** 2 x 1.5.
    exponents = largest.log2().floor() - 2
    bits = (groups / exponents.exp2()).unsqueeze(-1).sub(FP4).abs().argmin(-1)
    blocks = (bits[..., ::2] | (bits[..., 1::2] << 4)).to(torch.uint8)
    scales = (exponents.squeeze(-1) + 127).to(torch.uint8)
    return blocks, scales, (FP4[bits] * exponents.exp2()).flatten(-2)


def _fp8(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns = matrix.shape
    padded = F.pad(matrix, (0, -columns % FP8_BLOCK, 0, -rows % FP8_BLOCK))
    tiles = padded.unflatten(1, (-1, FP8_BLOCK)).unflatten(0, (-1, FP8_BLOCK))
    scales = tiles.abs().amax((1, 3)).clamp_min(1e-12) / FP8_MAX
    spread = scales.repeat_interleave(FP8_BLOCK, 0).repeat_interleave(FP8_BLOCK, 1)[:rows, :columns]
    values = (matrix / spread).to(torch.float8_e4m3fn)
    return values, scales, values.float() * spread
