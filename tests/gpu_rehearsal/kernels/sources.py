"""The kernels in Triton's interpreter, as they are or with a change in their source."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

triton: Any = pytest.importorskip("triton", reason="Triton is not installed: make gpu-rehearsal")

FOLDER = Path(__file__).parents[3] / "models" / "cuda"


def load(name: str, folder: Path, changes: Mapping[str, str]) -> ModuleType:
    """The module models/cuda/`name`.py from a copy in `folder`, with texts of its source replaced."""
    source = (FOLDER / f"{name}.py").read_text("utf-8")
    for text, replacement in changes.items():
        assert source.count(text) == 1, f"{text!r} is {source.count(text)} times in {name}.py"
        source = source.replace(text, replacement)
    file = folder / f"{name}.py"
    file.write_text(source, "utf-8")
    spec = importlib.util.spec_from_file_location(f"{name}_of_{abs(hash(str(file)))}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def interpreted_kernels(
    folder: Path, patch: pytest.MonkeyPatch, changes: Mapping[str, Mapping[str, str]] | None = None
) -> Any:
    """TritonKernels whose kernels run in the interpreter on CPU tensors; `changes` by module."""
    from models.cuda import triton_kernels

    for name in ("attention_kernel", "elementwise"):
        module = load(name, folder, (changes or {}).get(name, {}))
        for kernel in [kernel for kernel in vars(module) if kernel.endswith("_kernel")]:
            patch.setattr(triton_kernels, kernel, getattr(module, kernel))
    return triton_kernels.TritonKernels()
