"""What is set on a GPU before a model is loaded there."""

import pytest
import torch

from models.devices import choose_device


def test_the_chosen_device_becomes_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)

    for name in ("cuda:0", "cuda", "auto", "cpu"):
        choose_device(name)

    assert current == [torch.device("cuda:0")]


def test_products_of_half_precision_are_summed_in_float32() -> None:
    choose_device("cuda")

    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    assert not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
