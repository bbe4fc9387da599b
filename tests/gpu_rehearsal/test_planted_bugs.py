"""The rehearsal fails where a GPU would: each mistake that is planted here is caught, for the right reason.

Mistakes within the kernels are planted in kernels/test_planted_kernel_bugs.py.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen

from models import Backend, Item, LoadOptions, NonFinite, Readout, load_backend, load_preprocessor
from models.backends import packed
from models.backends.launched import Copy
from models.cuda import choice, forest_attention
from models.cuda.forest_attention import ForestAttention
from models.devices import STAGING_BYTES, Staging
from models.layers import varlen_attention
from models.layers.decoder import Rotary
from models.networks.fused.qwen3_fused import FusedQwen3
from tests.support.checkpoints.qwen3 import build
from tests.support.networks.one_at_a_time import Matrix, cosines
from tests.support.simulated_cuda.device import Event
from tests.support.simulated_cuda.tensor import GPU

CPU = torch.device("cpu")
MIN_COSINE = 0.999
HEAD = np.arange(20, dtype=np.int32)
# Texts with and without a common prefix.
TEXTS = [np.arange(n, dtype=np.int32) + 40 for n in (3, 9, 30)]
BATCHES = [[*TEXTS, *(np.concatenate([HEAD, ids]) for ids in TEXTS)], [np.concatenate([ids, HEAD]) for ids in TEXTS]]

Plant = Callable[[pytest.MonkeyPatch], object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("planted"), dtype=torch.bfloat16, head_dim=64)


def load(folder: Path, device: str) -> Backend:
    options = LoadOptions(dtype="bfloat16", device=device, backend="packed")
    return load_backend(folder, load_preprocessor(folder).info, options)


@pytest.fixture(scope="module")
def on_gpu(folder: Path) -> Backend:
    return load(folder, "cuda")


@pytest.fixture(scope="module")
def without_kernels(folder: Path) -> Backend:
    def missing() -> None:
        raise ImportError("No module named 'triton'")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "load_kernels", missing)
        return load(folder, "cuda")


@pytest.fixture(scope="module")
def truth(folder: Path) -> list[Matrix]:
    backend = load(folder, "cpu")
    return [np.stack(backend.launch([Item(ids, Readout("vector")) for ids in batch]).rows()) for batch in BATCHES]


def rehearse(backend: Backend, truth: list[Matrix]) -> None:
    """Launch two batches without a wait, and compare their vectors with the CPU's."""
    with GPU.counting() as counts:
        pending = [backend.launch([Item(ids, Readout("vector")) for ids in batch]) for batch in BATCHES]
    assert not counts.waits, counts.waits[0]
    for batch, vectors in zip(pending, truth, strict=True):
        assert cosines(batch.rows(), vectors).min() >= MIN_COSINE, "wrong vectors"


@contextmanager
def nothing_left_on_the_gpu() -> Iterator[None]:
    """What a failed test leaves under way must not fail the next one."""
    try:
        yield
    finally:
        GPU._arrivals.clear()


def around(patch: pytest.MonkeyPatch, owner: object, name: str, change: Callable[..., Any]) -> None:
    """Replace owner.name by `change`, which gets the replaced function and its arguments."""
    plain = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **kwargs: change(plain, *args, **kwargs))


def one_pinned_buffer() -> Callable[..., int]:
    shared = torch.empty(STAGING_BYTES, dtype=torch.uint8, pin_memory=True)

    def room_for(plain: Any, staging: Staging, size: int) -> int:
        start: int = plain(staging, size)
        staging._buffers = [(shared, device) for _, device in staging._buffers]
        return start

    return room_for


def not_pinned(dtype: torch.dtype) -> Plant:
    def change(plain: Any, *size: Any, pin_memory: bool = False, **more: Any) -> Tensor:
        tensor: Tensor = plain(*size, pin_memory=pin_memory and more["dtype"] != dtype, **more)
        return tensor

    return lambda patch: around(patch, torch, "empty", change)


def read_at_once(copy: Any, read_outs: Any) -> None:
    copy._event = None
    copy._shapes = [read_out.shape for read_out in read_outs]
    copy._host = torch.cat([read_out.flatten() for read_out in read_outs]).cpu()


def attend_over_columns(plain: Any, query: Tensor, *args: Any, **kwargs: Any) -> Any:
    return plain(query.transpose(1, 2).contiguous().transpose(1, 2), *args, **kwargs)


def shorter_by_one(
    plain: Any, query: Tensor, key: Tensor, value: Tensor, offsets: Any, longest: Any, **more: Any
) -> Any:
    return plain(query, key, value, offsets, (longest[0] - 1, longest[1]), **more)


def ask_for_the_sum(plain: Any, *args: Any) -> Tensor:
    states: Tensor = plain(*args)
    return states if states.sum().item() < torch.inf else states * 0


def select_by_mask(plain: Any, states: Tensor, *args: Any) -> Tensor:
    finite: Tensor = plain(states[states.isfinite().all(1)], *args)
    return finite


def on_a_stream_of_its_own(plain: Any, *args: Any) -> Tensor:
    with torch.cuda.stream(torch.cuda.Stream()):
        states: Tensor = plain(*args)
        return states


def tables_on_the_host(
    plain: Any, attention: ForestAttention, layout: Any, _: Staging, *args: Any, **more: Any
) -> None:
    plain(attention, layout, Staging(CPU), *args, **more)


def as_int64(plain: Any, staging: Staging, array: Any) -> Tensor:
    tensor: Tensor = plain(staging, array.astype(np.int64))
    return tensor


def with_the_attention_of_the_ends(plain: Any, network: FusedQwen3, batch: Any, *args: Any) -> Tensor:
    states: Tensor = plain(network, replace(batch, attention=batch.ends_attention), *args)
    return states


def with_a_key_too_few(plain: Any, *args: Any) -> Any:
    tables = plain(*args)
    return replace(tables, tiles=tables.tiles - np.array([0, 1, 0, 0], dtype=np.int32))


def without_spans(plain: Any, *args: Any) -> Any:
    tables = plain(*args)
    return replace(tables, tiles=tables.tiles * np.array([1, 1, 0, 0], dtype=np.int32))


def rotate_keys_alone(
    plain: Any, network: FusedQwen3, layer: Any, heads: Tensor, query_heads: int, angles: Any
) -> None:
    if heads.shape[1] > query_heads:
        plain(network, layer, heads[:, query_heads:], 0, angles)


def with_old_states(plain: Any, network: FusedQwen3, layer: Any, number: int, hidden: Tensor, *args: Any) -> None:
    plain(network, layer, number, hidden.clone(), *args)


# What is wrong, how it is planted, and how it shows.
BUGS: dict[str, tuple[Plant, str]] = {
    "rows are read before their event": (
        lambda patch: patch.setattr(Event, "synchronize", lambda _: None),
        "non-finite",
    ),
    "the event is recorded on another stream": (
        lambda patch: patch.setattr(torch.cuda, "current_stream", lambda _: torch.cuda.Stream()),
        "non-finite",
    ),
    "rows are copied to memory that is not pinned": (
        not_pinned(torch.float32),
        "a copy to the host, into memory that is not pinned at models/backends/launched.py",
    ),
    "rows are copied to the host in launch()": (
        lambda patch: patch.setattr(Copy, "__init__", read_at_once),
        "a blocking copy to the host",
    ),
    "indexes come from memory that is not pinned": (
        not_pinned(torch.uint8),
        "from memory that is not pinned",
    ),
    "one pinned buffer is filled for every copy": (
        lambda patch: around(patch, Staging, "_room_for", one_pinned_buffer()),
        "changed a pinned buffer",
    ),
    "a number is asked for in launch()": (
        lambda patch: around(patch, FusedQwen3, "__call__", ask_for_the_sum),
        "_local_scalar_dense waits for its result at tests/gpu_rehearsal/test_planted_bugs.py",
    ),
    "states are selected by a mask": (
        lambda patch: around(patch, packed, "read", select_by_mask),
        "index waits for its result",
    ),
    "the network runs on a stream of its own": (
        lambda patch: around(patch, FusedQwen3, "__call__", on_a_stream_of_its_own),
        "no event orders one after the other",
    ),
    "index arrays are never sent": (
        lambda patch: patch.setattr(Staging, "send", lambda _: None),
        "out of bounds",
    ),
    "a table of the kernels stays on the host": (
        lambda patch: around(patch, ForestAttention, "__init__", tables_on_the_host),
        "cannot be accessed from Triton",
    ),
    "tables are int64": (
        lambda patch: around(patch, Staging, "add", as_int64),
        "tables are int32",
    ),
    "the tables of the ends are used for all tokens": (
        lambda patch: around(patch, FusedQwen3, "__call__", with_the_attention_of_the_ends),
        "tables of another batch",
    ),
    "a tile ends before its last key": (
        lambda patch: around(patch, forest_attention, "attention_tables", with_a_key_too_few),
        "wrong vectors",
    ),
    "spans of shared keys are not attended to": (
        lambda patch: around(patch, forest_attention, "attention_tables", without_spans),
        "wrong vectors",
    ),
    "queries are not rotated": (
        lambda patch: around(patch, FusedQwen3, "_rotate", rotate_keys_alone),
        "wrong vectors",
    ),
    "the norm of the next layer is not taken": (
        lambda patch: around(patch, FusedQwen3, "_layer", with_old_states),
        "wrong vectors",
    ),
}  # fmt: skip

# The same, where the plain layers run.
BUGS_WITHOUT_KERNELS: dict[str, tuple[Plant, str]] = {
    "an index stays on the host": (
        lambda patch: around(patch, varlen_attention, "_indexes", lambda plain, spans, _: plain(spans, Staging(CPU))),
        "index copies an index from the host",
    ),
    "positions stay on the host": (
        lambda patch: around(patch, Rotary, "of", lambda plain, positions, *rest: plain(positions.cpu(), *rest)),
        "blocking copy to the host|on the same device",
    ),
    "heads are not contiguous": (
        lambda patch: around(patch, varlen, "varlen_attn", attend_over_columns),
        "contiguous last dimension",
    ),
    "queries are float32": (
        lambda patch: around(patch, Rotary, "__call__", lambda plain, *args: plain(*args).float()),
        "only support fp16 and bf16",
    ),
    "offsets are int64": (
        lambda patch: around(patch, varlen_attention, "_offsets", lambda plain, *args: plain(*args).long()),
        "must have dtype int32",
    ),
    "the longest sequence is counted too short": (
        lambda patch: around(patch, varlen_attention, "varlen", shorter_by_one),
        "max_seqlen is",
    ),
    "shared prefixes are merged with the weights swapped": (
        lambda patch: around(patch, torch, "sigmoid", lambda plain, logits: plain(-logits)),
        "wrong vectors",
    ),
    "shared prefixes are not attended to": (
        lambda patch: patch.setattr(varlen_attention._Branches, "merge", lambda *_: None),
        "wrong vectors",
    ),
}  # fmt: skip


def catch(backend: Backend, truth: list[Matrix], plant: Plant, sign: str) -> None:
    errors = (AssertionError, RuntimeError, IndexError, ValueError, NonFinite)
    with pytest.MonkeyPatch.context() as patch, nothing_left_on_the_gpu():
        plant(patch)
        with pytest.raises(errors, match=sign):
            rehearse(backend, truth)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(on_gpu: Backend, truth: list[Matrix], bug: str) -> None:
    catch(on_gpu, truth, *BUGS[bug])


@pytest.mark.parametrize("bug", BUGS_WITHOUT_KERNELS)
def test_a_planted_bug_is_caught_without_kernels(without_kernels: Backend, truth: list[Matrix], bug: str) -> None:
    catch(without_kernels, truth, *BUGS_WITHOUT_KERNELS[bug])


def test_without_a_bug_nothing_is_caught(on_gpu: Backend, without_kernels: Backend, truth: list[Matrix]) -> None:
    assert (on_gpu.info.fused, without_kernels.info.fused) == (True, False)
    rehearse(on_gpu, truth)
    rehearse(without_kernels, truth)
