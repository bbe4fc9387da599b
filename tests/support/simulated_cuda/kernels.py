"""The kernels of models.cuda on the simulated GPU: each is one launch, with the numbers of its plain twin.

What a Triton kernel takes for granted of its arguments, without an error if it is wrong, is checked here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from models.cuda.kernels import DeviceTables, PlainKernels
from models.layers.cpu_attention import KeysValues
from tests.support.simulated_cuda.tensor import GPU, DeviceTensor, empty_on_device, launch, note_written, on_device

PLAIN = PlainKernels()


class SimulatedKernels:
    """Implements Kernels."""

    def embed(self, table: Tensor, tokens: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        _check([table, tokens, weight], are_contiguous=[table, tokens, weight], share_dtype=[table, weight])
        assert tokens.dtype == torch.int64, "tokens are int64"
        return _launch("embed", lambda *numbers: PLAIN.embed(*numbers, eps), table, tokens, weight)

    def rms_norm(self, hidden: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        _check([hidden, weight], are_contiguous=[hidden, weight], share_dtype=[hidden, weight])
        return _launch("rms_norm", lambda *numbers: PLAIN.rms_norm(*numbers, eps, dtype), hidden, weight)

    def rotate_heads(
        self, heads: Tensor, query_heads: int, angles: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor], eps: float
    ) -> None:
        inputs = [heads, *angles, *weights]
        _check(inputs, are_contiguous=[*angles, *weights], share_dtype=[heads, *weights])
        _check_heads(heads)
        assert {angle.dtype for angle in angles} == {torch.float32}, "cosines and sines are float32"
        assert len(heads) == len(angles[0]) == len(angles[1]), "one row of angles a token"
        launch("rotate_heads", 1, inputs)
        numbers = [tensor.numbers for tensor in inputs]
        with torch.inference_mode(False), torch.no_grad():
            PLAIN.rotate_heads(numbers[0], query_heads, tuple(numbers[1:3]), tuple(numbers[3:]), eps)
        note_written([heads])

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        _check([gate_up], are_contiguous=[gate_up])
        return _launch("silu_mul", PLAIN.silu_mul, gate_up)

    def attend(self, query: Tensor, sources: Sequence[KeysValues], tables: DeviceTables) -> Tensor:
        index = [tables.tiles, tables.spans, tables.own]
        states = [query, *(part for source in sources for part in source)]
        cached = [] if tables.cached is None else [tables.cached]
        _check([*states, *index, *cached], are_contiguous=[*index, *cached], share_dtype=states)
        for heads in states:
            _check_heads(heads)
        assert {table.dtype for table in index} == {torch.int32}, "tables are int32"
        assert (len(cached), len(tables.own)) == (len(sources) > 1, len(query)), "tables of another batch"
        launch("attend", 1, [*states, *index, *cached])
        if not GPU.holds_numbers:
            return empty_on_device(query.shape, None, query.dtype)
        plain = DeviceTables(tables.tile_queries, *(table.numbers for table in index), None)
        _check_tables(plain, len(query), [len(key) for key, _ in sources])
        if cached:
            _check_offsets(tables.cached.numbers, sources[1:])
        numbers = [(key.numbers, value.numbers) for key, value in sources]
        with torch.inference_mode(False), torch.no_grad():
            out = on_device(PLAIN.attend(query.numbers, numbers, plain))
        note_written([out])
        return out


def _launch(name: str, plain: Callable[..., Any], *inputs: DeviceTensor) -> Any:
    launch(name, 1, inputs)
    with torch.inference_mode(False), torch.no_grad():
        result = plain(*(tensor.numbers for tensor in inputs))
        outputs = [on_device(numbers) for numbers in (result if isinstance(result, tuple) else (result,))]
    note_written(outputs)
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def _check(inputs: Sequence[Tensor], *, are_contiguous: Sequence[Tensor], share_dtype: Sequence[Tensor] = ()) -> None:
    if not all(isinstance(tensor, DeviceTensor) for tensor in inputs):
        raise ValueError("Pointer argument cannot be accessed from Triton (cpu tensor?)")
    assert all(tensor.is_contiguous() for tensor in are_contiguous), "the kernel reads contiguous memory"
    assert len({tensor.dtype for tensor in share_dtype}) <= 1, "the kernel takes one dtype"


def _check_heads(heads: Tensor) -> None:
    assert heads.stride()[1:] == (heads.shape[2], 1), "the kernel takes the heads of a row side by side"


def _check_tables(tables: DeviceTables, queries: int, lengths: Sequence[int]) -> None:
    """Refuse what would make the kernel read or write behind the end of a tensor."""
    tiles, spans, own = (table.tolist() for table in (tables.tiles, tables.spans, tables.own))
    assert len(tiles) * tables.tile_queries >= queries, "queries without a tile are never written"
    assert all(0 <= first <= last <= lengths[0] for first, last, *_ in tiles), "own keys out of bounds"
    assert all(0 <= first <= last < lengths[0] for first, last in own), "own keys out of bounds"
    assert all(0 <= first <= last <= len(spans) for *_, first, last in tiles), "spans out of bounds"
    assert all(0 <= first <= last <= lengths[source] for first, last, source, *_ in spans), "keys out of bounds"


def _check_offsets(cached: Tensor, prefixes: Sequence[KeysValues]) -> None:
    base, size = prefixes[0][0].data_ptr(), prefixes[0][0].element_size()
    places = [[base + key * size, base + value * size, stride] for key, value, stride in cached.tolist()]
    assert places == [[key.data_ptr(), value.data_ptr(), key.stride(0)] for key, value in prefixes], (
        "the offsets are of another layer"
    )
