"""Compiles every kernel for a GPU that need not be there, and prints what the machine code takes, as JSON.

    python -m tests.gpu_rehearsal.kernels.compiler 90

A process of its own: where Triton's interpreter runs, its compiler does not.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from models.cuda import attention_kernel, elementwise
from models.cuda.forest_attention import TILE_ROWS
from models.cuda.triton_kernels import ROTATED_TOKENS, SILU_BLOCK, attention_options, row_options

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
WARP_THREADS = 32
STATES, TABLE, FLOATS = "*bf16", "*i32", "*fp32"
STRIDES = dict.fromkeys(("query_stride", "key_stride", "value_stride", "out_stride"), "i32")
ATTENTION = (
    dict.fromkeys(("query", "key", "value", "out", "cached_base"), STATES)
    | dict.fromkeys(("tiles", "spans", "own"), TABLE)
    | {"cached": "*i64", "scale": "fp32", "queries": "i32"}
    | STRIDES
)
NORM = {"weight": STATES, "out": STATES, "width": "i32", "eps": "fp32"}
ROTATION = dict.fromkeys(("states", "query_weight", "key_weight"), STATES) | {
    **dict.fromkeys(("cosines", "sines"), FLOATS),
    "tokens": "i32",
    "stride": "i32",
    "eps": "fp32",
}
# Numbers that are no multiple of 16; pointers and all others are.
ODD = {"queries", "tokens"}

Types = Mapping[str, str]
# The shapes of Qwen3 0.6B; rows as wide as those of 8B. Each with the types of its arguments and its options.
KERNELS: dict[str, tuple[Any, Types, dict[str, int]]] = {
    "attention of all tokens": (
        attention_kernel.forest_attention_kernel,
        ATTENTION,
        attention_options(2, TILE_ROWS // 2) | {"width": 128},
    ),
    "attention of the ends": (
        attention_kernel.forest_attention_kernel,
        ATTENTION,
        attention_options(2, 1) | {"width": 128},
    ),
    "rms_norm": (elementwise.rms_norm_kernel, {"hidden": STATES} | NORM, row_options(4096)),
    "embed": (
        elementwise.embed_kernel,
        {"table": STATES, "tokens": "*i64", "hidden": STATES} | NORM,
        row_options(4096),
    ),
    "rotate_heads": (
        elementwise.rotate_heads_kernel,
        ROTATION,
        {"query_heads": 16, "width": 128, "block_tokens": ROTATED_TOKENS},
    ),
    "silu_mul": (
        elementwise.silu_mul_kernel,
        {"gate_up": STATES, "out": STATES, "width": "i32"},
        {"block": SILU_BLOCK},
    ),
}


def compile_kernel(kernel: Any, types: Types, options: Mapping[str, int], capability: int) -> bytes:
    """Machine code of one kernel for compute capability `capability`, 80 for 8.0."""
    names = kernel.arg_names
    launch = {name: value for name, value in options.items() if name not in names}
    source = ASTSource(
        fn=kernel,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in options.items() if name in names},
        attrs={
            (names.index(name),): [["tt.divisibility", 16]]
            for name, kind in types.items()
            if kind != "fp32" and name not in ODD
        },
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, WARP_THREADS), options=launch)
    code: bytes = compiled.asm["cubin"]
    return code


def resources(code: bytes) -> dict[str, int]:
    """Registers and bytes of stack of a thread, and how many instructions spill, copy 16 bytes, or copy fewer."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        usage = _run("cuobjdump", "--dump-resource-usage", file.name)
        instructions = _run("nvdisasm", file.name)
    registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", usage)[0]
    copies = re.findall(r"\b(?:LDG|LDGSTS|STG)\.E[.A-Z0-9]*", instructions)
    return {
        "registers": int(registers),
        "stack": int(stack),
        "spills": len(re.findall(r"\b(?:LDL|STL)\b", instructions)),
        "wide_copies": sum(".128" in copy for copy in copies),
        "narrow_copies": sum(".U16" in copy or ".U8" in copy for copy in copies),
        "products": len(re.findall(r"\b(?:HMMA|HGMMA|UTCHMMA)\b", instructions)),
    }


def _run(tool: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


def main() -> None:
    capability = int(sys.argv[1])
    kernels = {name: resources(compile_kernel(*kernel, capability)) for name, kernel in KERNELS.items()}
    json.dump(kernels, sys.stdout)


if __name__ == "__main__":
    main()
