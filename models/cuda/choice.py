"""Whether a network runs on the kernels: they are there, support its shape, and equal their twins on this device."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.cuda.forest_attention import ForestAttention
from models.cuda.kernels import Kernels, PlainKernels
from models.devices import Staging
from models.interface import Ids
from models.layers.attention import PlainAttention
from models.layers.cpu_attention import KeysValues
from models.packing import pack

log = logging.getLogger("hearth.models")

MIN_CAPABILITY = (8, 0)
# A power of 2, as Triton's blocks are. A tile of wider heads would spill its registers.
HEAD_DIMS = (16, 32, 64, 128)
# The largest difference of a kernel from its twin, as a share of the largest number: a few roundings.
TOLERANCES = {torch.bfloat16: 0.03, torch.float16: 0.004}
# Texts with common beginnings, longer than a tile, and of one token.
CHECKED_LENGTHS = (1, 3, 40, 130, 200)
CACHED_TOKENS = 20
EPS = 1e-6


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The sizes of a decoder layer that kernels depend on."""

    hidden: int
    intermediate: int
    heads: int
    groups: int
    head_dim: int


def choose_kernels(shape: LayerShape, device: torch.device, dtype: torch.dtype) -> tuple[Kernels | None, str]:
    """The kernels, or None where the plain layers run; and why. The first call for a shape compiles them."""
    if device.type != "cuda":
        return None, "the kernels need a CUDA device"
    if dtype not in TOLERANCES:
        return None, "the kernels need bfloat16 or float16"
    if torch.cuda.get_device_capability(device) < MIN_CAPABILITY:
        return None, "the kernels need compute capability 8.0"
    if shape.head_dim not in HEAD_DIMS:
        return None, f"the kernels support heads of {', '.join(map(str, HEAD_DIMS))}, not of {shape.head_dim} numbers"
    try:
        kernels = load_kernels()
        wrong = differences(kernels, shape, device, dtype)
    except torch.OutOfMemoryError:
        raise
    # Triton raises errors of many kinds: without a C compiler, with an unknown device, in any of its passes.
    except Exception as error:
        return _plain(f"the kernels do not run here: {type(error).__name__}: {_first_line(error)}")
    if wrong:
        return _plain(f"kernels differ from the plain layers on this device: {', '.join(wrong)}")
    return kernels, "the kernels equal the plain layers on this device"


def load_kernels() -> Kernels:
    """The Triton kernels; raises ImportError without Triton."""
    from models.cuda.triton_kernels import TritonKernels

    return TritonKernels()


def _plain(reason: str) -> tuple[None, str]:
    log.warning("the plain layers run, which take several times as long: %s", reason)
    return None, reason


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")


def differences(kernels: Kernels, shape: LayerShape, device: torch.device, dtype: torch.dtype) -> list[str]:
    """The kernels that differ from their twins, each with by how much."""
    random = torch.Generator(device).manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(*size, generator=random, device=device).to(dtype)

    checks: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "embed": lambda: _embed(kernels, draw, shape),
        "rms_norm": lambda: _rms_norm(kernels, draw, shape),
        "rotate_heads": lambda: _rotate_heads(kernels, draw, shape),
        "silu_mul": lambda: _silu_mul(kernels, draw, shape),
        "attend": lambda: _attend(kernels, draw, shape),
        "attend, ends alone": lambda: _attend(kernels, draw, shape, ends_alone=True),
    }
    errors = {name: _relative_error(*check()) for name, check in checks.items()}
    # Not `>`, because a difference may be NaN.
    return [f"{name} by {error:.2g}" for name, error in errors.items() if not error <= TOLERANCES[dtype]]


Draw = Callable[..., Tensor]


def _relative_error(computed: Tensor, expected: Tensor) -> float:
    return float((computed.float() - expected.float()).abs().max() / expected.float().abs().max())


def _embed(kernels: Kernels, draw: Draw, shape: LayerShape) -> tuple[Tensor, Tensor]:
    table, weight = draw(7, shape.hidden), draw(shape.hidden)
    tokens = torch.tensor([6, 0, 3, 3], device=table.device)
    computed, expected = (k.embed(table, tokens, weight, EPS) for k in (kernels, PlainKernels()))
    return torch.cat(computed), torch.cat(expected)


def _rms_norm(kernels: Kernels, draw: Draw, shape: LayerShape) -> tuple[Tensor, Tensor]:
    hidden, weight = draw(5, shape.hidden), draw(shape.hidden)
    computed, expected = (
        torch.cat([k.rms_norm(hidden, weight, EPS, dtype).float() for dtype in (hidden.dtype, torch.float32)])
        for k in (kernels, PlainKernels())
    )
    return computed, expected


def _rotate_heads(kernels: Kernels, draw: Draw, shape: LayerShape) -> tuple[Tensor, Tensor]:
    count, width = shape.heads + 2 * shape.groups, shape.head_dim
    merged, weights = draw(19, count * width), (draw(width), draw(width))
    angles = draw(19, width // 2).float() * 100
    computed, expected = merged.clone(), merged.clone()
    for states, k in ((computed, kernels), (expected, PlainKernels())):
        rotated = states.unflatten(1, (count, width))[:, : shape.heads + shape.groups]
        k.rotate_heads(rotated, shape.heads, (angles.cos(), angles.sin()), weights, EPS)
    return computed, expected


def _silu_mul(kernels: Kernels, draw: Draw, shape: LayerShape) -> tuple[Tensor, Tensor]:
    gate_up = draw(3, 2 * shape.intermediate)
    return kernels.silu_mul(gate_up), PlainKernels().silu_mul(gate_up)


def _attend(kernels: Kernels, draw: Draw, shape: LayerShape, *, ends_alone: bool = False) -> tuple[Tensor, Tensor]:
    # Each repeats some ids so many times. They continue a cached prefix, then most share a beginning, one does not.
    shared = [_repeat((1, CACHED_TOKENS), (2, 5), (number, n)) for number, n in enumerate(CHECKED_LENGTHS)]
    texts = [*shared, _repeat((1, CACHED_TOKENS), (9, 7)), _repeat((8, CACHED_TOKENS))]
    cached = _repeat((1, CACHED_TOKENS))
    forest = pack(texts, [cached])
    sources = [_keys_values(draw, shape, n) for n in (len(forest.tokens), len(cached))]
    query = draw(len(forest.tokens), shape.heads, shape.head_dim)
    layout = forest.layout.at(forest.ends) if ends_alone else forest.layout
    if ends_alone:
        query = query[torch.from_numpy(forest.ends).to(query.device)]
    staging = Staging(query.device)
    attention = ForestAttention(layout, staging, kernels, group=shape.heads // shape.groups, cached=[[sources[1]]])
    staging.send()
    wide = [(key.float(), value.float()) for key, value in sources]
    return attention(query, sources), PlainAttention(layout)(query.float(), wide)


def _repeat(*pieces: tuple[int, int]) -> Ids:
    ids, counts = np.array(pieces, dtype=np.int32).T
    return np.repeat(ids, counts)


def _keys_values(draw: Draw, shape: LayerShape, tokens: int) -> KeysValues:
    merged = draw(tokens, 2, shape.groups, shape.head_dim)
    return merged[:, 0], merged[:, 1]
