"""The rehearsal fails where a GPU would: each mistake that is planted here is caught, for the right reason."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from models.devices import STAGING_BYTES, Staging
from models.layers import varlen_attention
from models.layers.decoder import Rotary
from models.networks.qwen3 import Qwen3
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
        lambda patch: around(patch, Qwen3, "__call__", ask_for_the_sum),
        "_local_scalar_dense waits for its result at tests/gpu_rehearsal/test_planted_bugs.py",
    ),
    "states are selected by a mask": (
        lambda patch: around(patch, packed, "read", select_by_mask),
        "index waits for its result",
    ),
    "an index stays on the host": (
        lambda patch: around(patch, varlen_attention, "_indexes", lambda plain, spans, _: plain(spans, Staging(CPU))),
        "index copies an index from the host",
    ),
    "positions stay on the host": (
        lambda patch: around(patch, Rotary, "of", lambda plain, positions, *rest: plain(positions.cpu(), *rest)),
        "blocking copy to the host|on the same device",
    ),
    "the network runs on a stream of its own": (
        lambda patch: around(patch, Qwen3, "__call__", on_a_stream_of_its_own),
        "no event orders one after the other",
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
    "index arrays are never sent": (
        lambda patch: patch.setattr(Staging, "send", lambda _: None),
        "out of bounds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(
    on_gpu: Backend, truth: list[Matrix], monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    plant, sign = BUGS[bug]
    plant(monkeypatch)

    with (
        nothing_left_on_the_gpu(),
        pytest.raises((AssertionError, RuntimeError, IndexError, NonFinite), match=sign),
    ):
        rehearse(on_gpu, truth)


def test_without_a_bug_nothing_is_caught(on_gpu: Backend, truth: list[Matrix]) -> None:
    rehearse(on_gpu, truth)
