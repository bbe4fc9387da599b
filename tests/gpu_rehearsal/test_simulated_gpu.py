"""What the simulated GPU promises: work that is late, memory that runs out, and each wait with the line that asked."""

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.simulated_cuda.device import SimulatedRace
from tests.support.simulated_cuda.tensor import GPU

THIS_FILE = "tests/gpu_rehearsal/test_simulated_gpu.py"


def on_gpu(*numbers: float) -> Tensor:
    return torch.tensor(numbers).pin_memory().to("cuda", non_blocking=True)


def copied_to_host(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    return host


def test_a_copy_to_the_host_arrives_when_the_host_waits_for_its_event() -> None:
    host, event = copied_to_host(on_gpu(1, 2) * 3), torch.cuda.Event()
    event.record()
    early = host.clone()

    event.synchronize()

    assert early.isnan().all()
    assert host.tolist() == [3, 6]


def test_an_event_is_over_after_some_questions_without_a_wait() -> None:
    torch.cuda._sleep(20_000_000)
    event = torch.cuda.Event()
    event.record()

    with GPU.counting() as counts:
        answers = [event.query() for _ in range(20)]

    assert answers[0] is False
    assert answers[-1] is True
    assert counts.waits == []


def test_device_memory_that_nobody_wrote_is_nan() -> None:
    assert torch.empty(3, device="cuda").cpu().isnan().all()


def test_a_pinned_buffer_that_changes_before_its_copy_is_over_is_an_error() -> None:
    buffer = torch.tensor([1.0, 2.0]).pin_memory()
    buffer.to("cuda", non_blocking=True)
    buffer[0] = 5

    with pytest.raises(SimulatedRace, match="changed a pinned buffer"):
        torch.cuda.synchronize()


def test_a_stream_that_reads_what_another_one_writes_must_wait_for_it() -> None:
    side, event, tensor = torch.cuda.Stream(), torch.cuda.Event(), on_gpu(1, 2) * 2
    event.record()

    with torch.cuda.stream(side), pytest.raises(SimulatedRace, match="another one writes"):
        tensor * 2
    side.wait_event(event)
    with torch.cuda.stream(side):
        assert (tensor * 2).cpu().tolist() == [4, 8]


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        (lambda tensor: tensor.sum().item(), "_local_scalar_dense"),
        (lambda tensor: bool(tensor[0] > 0), "is_nonzero|_local_scalar_dense"),
        (lambda tensor: tensor[tensor > 1], "index"),
        (lambda tensor: tensor[torch.tensor([1])], "copies an index from the host"),
        (lambda tensor: tensor.nonzero(), "nonzero"),
        (lambda tensor: tensor.cpu(), "blocking copy to the host"),
        (lambda tensor: torch.empty(2).copy_(tensor, non_blocking=True), "memory that is not pinned"),
        (lambda _: torch.ones(2).cuda(), "blocking copy to the device"),
        (lambda _: torch.ones(2).to("cuda", non_blocking=True), "memory that is not pinned"),
        (lambda _: torch.tensor([1.0], device="cuda"), "blocking copy to the device"),
        (lambda _: torch.cuda.synchronize(), "synchronize"),
    ],
    ids=[
        "item",
        "bool",
        "mask",
        "host-index",
        "nonzero",
        "cpu",
        "pageable-out",
        "cuda",
        "pageable-in",
        "tensor",
        "all",
    ],
)
def test_what_makes_the_host_wait_is_counted_with_its_line(waiting: Callable[[Tensor], object], reason: str) -> None:
    tensor = on_gpu(1, 2)

    with GPU.counting() as counts:
        waiting(tensor)

    assert len(counts.waits) == 1
    assert re.search(reason, counts.waits[0])
    assert f" at {THIS_FILE}:" in counts.waits[0]


def test_kernels_copies_and_pinned_buffers_are_counted() -> None:
    with GPU.counting() as counts:
        copied_to_host(on_gpu(1, 2)[None].view(2) * 2 + 1)

    assert (counts.kernels, counts.copies_in, counts.copies_out, counts.pinned_buffers) == (2, 1, 1, 2)
    assert counts.waits == []


def test_tensors_of_two_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="on the same device"):
        on_gpu(1, 2) + torch.ones(2)


def test_memory_is_counted_until_the_last_view_is_gone_and_can_run_out() -> None:
    before = torch.cuda.memory_allocated()
    view = torch.zeros(256, device="cuda")[:2]
    held = torch.cuda.memory_allocated() - before
    del view
    torch.cuda.set_per_process_memory_fraction(0.0)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.zeros(256, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert held == 1024
    assert torch.cuda.memory_allocated() == before


@pytest.mark.parametrize("mask", [None, "bool"])
def test_fused_attention_holds_no_scores(mask: str | None) -> None:
    heads = torch.randn(1, 4, 256, 8, device="cuda", dtype=torch.float32)
    sees = None if mask is None else torch.ones(256, 256, dtype=torch.bool, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()

    out = F.scaled_dot_product_attention(heads, heads, heads, attn_mask=sees)

    assert torch.cuda.max_memory_allocated() - before == heads.numel() * 4
    host = heads.cpu()
    assert torch.allclose(out.cpu(), F.scaled_dot_product_attention(host, host, host), atol=1e-6)


def test_shapes_alone_are_counted_without_numbers() -> None:
    with GPU.shapes_only(), GPU.counting() as counts:
        matrix = torch.empty(100_000, 100_000, device="cuda", dtype=torch.bfloat16)
        host = copied_to_host((matrix @ matrix.T)[0, :2].float())
        torch.cuda.synchronize()

    assert host.tolist() == [0, 0]
    assert (counts.kernels, counts.copies_out) == (2, 1)
