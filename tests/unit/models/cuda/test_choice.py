"""Where the kernels are taken, and that the plain layers run with a reason where they are not."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.cuda import choice
from models.cuda.choice import LayerShape, choose_kernels, differences
from models.cuda.kernels import PlainKernels

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SHAPE = LayerShape(hidden=96, intermediate=100, heads=4, groups=2, head_dim=16)


class WrongKernels(PlainKernels):
    def silu_mul(self, gate_up: Tensor) -> Tensor:
        return super().silu_mul(gate_up) * 1.1


class NotANumber(PlainKernels):
    def silu_mul(self, gate_up: Tensor) -> Tensor:
        return super().silu_mul(gate_up) * torch.nan


@pytest.fixture
def capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_plain_kernels_equal_themselves(dtype: torch.dtype) -> None:
    assert differences(PlainKernels(), SHAPE, CPU, dtype) == []


@pytest.mark.usefixtures("capability")
@pytest.mark.parametrize(
    ("device", "dtype", "shape", "reason"),
    [
        (CPU, torch.bfloat16, SHAPE, "the kernels need a CUDA device"),
        (CUDA, torch.float32, SHAPE, "the kernels need bfloat16 or float16"),
        (CUDA, torch.bfloat16, replace(SHAPE, head_dim=24), "the kernels support heads of 16, 32, 64, 128, not of 24"),
        (CUDA, torch.bfloat16, replace(SHAPE, head_dim=256), "not of 256 numbers"),
    ],
)
def test_what_the_kernels_do_not_support_runs_on_the_plain_layers(
    device: torch.device, dtype: torch.dtype, shape: LayerShape, reason: str
) -> None:
    kernels, why = choose_kernels(shape, device, dtype)

    assert kernels is None
    assert reason in why


def test_an_old_gpu_runs_the_plain_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))

    assert choose_kernels(SHAPE, CUDA, torch.float16) == (None, "the kernels need compute capability 8.0")


@pytest.mark.usefixtures("capability")
def test_without_triton_the_plain_layers_run_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'triton'")

    monkeypatch.setattr(choice, "load_kernels", missing)

    kernels, why = choose_kernels(SHAPE, CUDA, torch.bfloat16)

    assert kernels is None
    assert why == "the kernels do not run here: ModuleNotFoundError: No module named 'triton'"
    assert [record.getMessage() for record in caplog.records] == [
        f"the plain layers run, which take several times as long: {why}"
    ]


@pytest.mark.usefixtures("capability")
def test_out_of_memory_is_no_reason_to_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(choice, "load_kernels", full)

    with pytest.raises(torch.OutOfMemoryError):
        choose_kernels(SHAPE, CUDA, torch.bfloat16)


@pytest.mark.parametrize("kernels", [WrongKernels(), NotANumber()], ids=["wrong", "NaN"])
def test_a_kernel_that_differs_is_named(kernels: PlainKernels) -> None:
    (sentence,) = differences(kernels, SHAPE, CPU, torch.bfloat16)

    assert sentence.startswith("silu_mul by ")


@pytest.mark.usefixtures("capability")
@pytest.mark.parametrize(("kernels", "fused"), [(PlainKernels(), True), (WrongKernels(), False)])
def test_kernels_that_differ_are_not_taken(monkeypatch: pytest.MonkeyPatch, kernels: PlainKernels, fused: bool) -> None:
    monkeypatch.setattr(choice, "load_kernels", lambda: kernels)
    compare = choice.differences
    monkeypatch.setattr(choice, "differences", lambda ours, shape, _, dtype: compare(ours, shape, CPU, dtype))

    chosen, why = choose_kernels(SHAPE, CUDA, torch.bfloat16)

    assert (chosen is kernels) == fused
    assert ("differ from" in why) == (not fused)
