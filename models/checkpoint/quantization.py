"""Which quantised weights are read, as what, and what is needed for others. Headers and config.json only; no torch."""

import math

from models.checkpoint.folder import Checkpoint
from models.interface import ModelError

# By the library, into the dtype that the model runs in: exact, for an MXFP4 number has one bit of mantissa.
READ = {"mxfp4"}
NUMBERS_A_BYTE = {"_blocks": 2}
SCALES = ("_scales", "_scale_inv")
# How to come by plain weights. DeepSeek-V3 repository, inference/; the others are made from published bfloat16 weights.
ADVICE = {"fp8": "convert it, for instance with fp8_cast_bf16.py of the DeepSeek-V3 repository"}
OTHER_ADVICE = "take the checkpoint that it was made from"
BFLOAT16_BYTES = 2


def quantisation(checkpoint: Checkpoint) -> str:
    """How the weights are quantised, as config.json says it; empty when they are plain numbers."""
    found = checkpoint.config.get("quantization_config")
    if not found:
        return ""
    return str(found.get("quant_method", "unknown") if isinstance(found, dict) else found)


def check_quantised(checkpoint: Checkpoint) -> None:
    """Refuse weights that are not read right, and say what to do.

    Raises: ModelError: quantised, and not in a way that is read.
    """
    method = quantisation(checkpoint)
    if not method or method in READ:
        return
    advice = ADVICE.get(method, OTHER_ADVICE)
    gigabytes = max(1, round(count_parameters(checkpoint) * BFLOAT16_BYTES / 1e9))
    raise ModelError(
        f"{checkpoint.path} has weights quantised as {method}, which is not supported; use bfloat16 weights "
        f"({advice}), which need {gigabytes:,} GB of memory"
    )


def count_parameters(checkpoint: Checkpoint) -> int:
    """How many numbers the tensors stand for: several may share a byte, and scales are none."""
    return sum(
        math.prod(shape) * next((each for end, each in NUMBERS_A_BYTE.items() if name.endswith(end)), 1)
        for name, shape in checkpoint.tensors.items()
        if not name.endswith(SCALES)
    )
